//! Ports as lists write them: `80,443`, ` 443 , 8080-8090 `, `443`, `[80, 443]`. Pure.

use crate::net::{PortRange, Protocol};
use serde_json::Value;

/// A text that is no port, and why.
pub(super) type Unread = (String, String);

/// Reads every port of `value`. What can be read is used; what cannot is returned beside it.
pub(super) fn read(value: Option<&Value>, protocol: Protocol) -> (Vec<(Protocol, PortRange)>, Vec<Unread>) {
    let mut ranges = Vec::new();
    let mut unread = Vec::new();
    for item in super::items(value) {
        match item {
            Value::Null => {}
            Value::String(text) => {
                for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                    match PortRange::parse(part) {
                        Ok(range) => ranges.push((protocol, range)),
                        Err(error) => unread.push((part.to_owned(), error.to_string())),
                    }
                }
            }
            Value::Number(number) => match PortRange::parse(&number.to_string()) {
                Ok(range) => ranges.push((protocol, range)),
                Err(error) => unread.push((number.to_string(), error.to_string())),
            },
            other => {
                let message =
                    format!("ports are numbers, or texts such as `80,443`; this is {}", super::kind_of(other));
                unread.push((super::quoted(other), message));
            }
        }
    }
    (ranges, unread)
}
