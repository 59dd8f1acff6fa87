use super::*;
use crate::document::{Reading, parse};
use serde_json::json;

/// A list of these names and networks, outbound.
fn list(items: &[String]) -> Allowlist {
    let service = json!({ "name": "S", "direction": "outbound", "endpoints": [{ "geo": "us", "fqdns": items }] });
    parse(json!({ "services": [service] }).to_string().as_bytes(), &Reading::default()).expect("a list").allowlist
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("n{number}.example.com")).collect()
}

fn networks(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("20.{}.{}.1", number / 100, number % 100)).collect()
}

/// Every network of this length in IPv4.
fn all_of_ipv4(length: u32) -> Vec<String> {
    let all = (0..1u64 << length).map(|number| u32::try_from(number << (32 - length)).expect("an address"));
    all.map(|address| format!("{}/{length}", std::net::Ipv4Addr::from(address))).collect()
}

/// Formerly any growth was followed at once.
#[test]
fn a_hundred_times_as_much_is_accepted_and_more_waits() {
    for (of, make) in [("names and wildcards", names as fn(usize) -> Vec<String>), ("networks", networks)] {
        let before = list(&make(3));
        assert_eq!(judge(Some(&before), None, &list(&make(300))), None);
        let after = list(&make(301));
        assert_eq!(judge(Some(&before), None, &after), Some(Growth::Count { of, before: 3, after: 301 }));
        assert_eq!(judge(None, None, &after), None, "the first list has grown from nothing");
        assert_eq!(judge(Some(&after), None, &before), None, "shrinking is no growth");
    }
    let none = list(&names(2));
    let mut some = names(2);
    some.extend(networks(101));
    assert_eq!(judge(Some(&none), None, &list(&some[..102])), None);
    assert_eq!(judge(Some(&none), None, &list(&some)), Some(Growth::Count { of: "networks", before: 0, after: 101 }));
}

/// Formerly every /8 and every /16 of a list passed the guard, one by one: 84.0 % of IPv4 and all of 2000::/3, at once.
#[test]
fn a_part_of_the_internet_waits_even_in_the_first_list() {
    let share = |items: &[String]| judge(None, None, &list(items)).map(|growth| growth.to_string());
    let of_ipv4 = "the outbound networks of the newest list are 100.0 % of IPv4, more than one address in 256";
    assert_eq!(share(&all_of_ipv4(8)).as_deref(), Some(of_ipv4));
    let eighth: Vec<String> = (0x2000..0x4000u32).map(|number| format!("{number:x}::/16")).collect();
    let of_ipv6 = "the outbound networks of the newest list are 100.0 % of 2000::/3, more than one address in 256";
    assert_eq!(share(&eighth).as_deref(), Some(of_ipv6));
    assert_eq!(share(&["::/0".to_owned()]).as_deref(), Some(of_ipv6));
    assert_eq!(share(&["20.0.0.0/8".to_owned()]), None, "as much as one network may be");
    assert_eq!(share(&["20.0.0.0/8".to_owned(), "20.1.0.0/16".to_owned()]), None, "the same twice");
    assert!(share(&["20.0.0.0/8".to_owned(), "21.0.0.1".to_owned()]).is_some());
    assert_eq!(share(&eighth[..32]), None);
    assert!(share(&eighth[..33]).is_some());
}

#[test]
fn the_second_time_it_is_accepted() {
    let (before, wide) = (list(&names(1)), list(&all_of_ipv4(8)[16..32]));
    for in_use in [None, Some(&before)] {
        assert!(judge(in_use, None, &wide).is_some());
        assert_eq!(judge(in_use, Some(&wide), &wide), None);
        assert_eq!(judge(in_use, Some(&wide), &before), None, "back to what it was");
        let wider = list(&all_of_ipv4(8)[16..33]);
        assert!(judge(in_use, Some(&wide), &wider).is_some(), "a wider one is another list");
    }
    assert_eq!(judge(Some(&wide), None, &wide), None, "what is in use is open already");
    assert_eq!(judge(Some(&wide), None, &list(&all_of_ipv4(8)[16..30])), None, "less of it opens nothing");
    assert!(judge(Some(&wide), None, &list(&all_of_ipv4(8)[16..33])).is_some());
}
