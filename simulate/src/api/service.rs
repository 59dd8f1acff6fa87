//! Requests and answers over HTTP's types, without HTTP.

use super::ApiServer;
use super::State;
use super::admission::Admission;
use super::call::Call;
use super::delete::Deleted;
use super::failure::ApiFailure;
use super::faults::Fate;
use super::read::Form;
use super::rights::refusal;
use super::store::{Key, Store};
use super::watch::Watch;
use super::write::{Write, Written};
use bytes::Bytes;
use citrix_allowlist::cluster::client::READ_TIMEOUT;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use http::header::{ACCEPT, CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER, USER_AGENT};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use kube::client::Body;
use serde_json::Value;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::Service;

/// The body of an answer.
pub type AnswerBody = UnsyncBoxBody<Bytes, io::Error>;

/// The patches that are understood.
const MERGE_PATCH: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// A connection on which nothing comes: the operator's connector gives it up.
async fn silent<T>() -> io::Result<T> {
    tokio::time::sleep(READ_TIMEOUT).await;
    Err(io::ErrorKind::TimedOut.into())
}

/// One client's way to the server, as an account.
#[derive(Clone, Debug)]
pub struct ApiConnection {
    server: ApiServer,
    account: String,
}

impl ApiConnection {
    pub(super) const fn new(server: ApiServer, account: String) -> Self {
        Self { server, account }
    }
}

impl Service<Request<Body>> for ApiConnection {
    type Response = Response<AnswerBody>;
    type Error = io::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (server, account) = (self.server.clone(), self.account.clone());
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
            let call = match Call::read(&account, &parts) {
                Ok(call) => call,
                Err(failure) => return Ok(refused(&failure)),
            };
            let clock = server.clone();
            let reset = || Err(io::Error::from(io::ErrorKind::ConnectionReset));
            let fate = server.lock().fate(&call);
            let answer = match &fate {
                Fate::Served | Fate::AnswerBroken | Fate::AnswerSilent => server.serve(&call, &parts.headers, &body),
                Fate::Slow { request, answer } => {
                    let (request, back) = (*request, *answer);
                    // It arrives even if its client has given up: that is what makes slow writes dangerous.
                    let arrival = tokio::spawn(async move {
                        tokio::time::sleep(request).await;
                        server.serve(&call, &parts.headers, &body)
                    });
                    let answer = arrival.await.map_err(io::Error::other)?;
                    tokio::time::sleep(back).await;
                    answer
                }
                Fate::Refused(failure) => return Ok(refused(failure)),
                Fate::Broken => return reset(),
                Fate::Silent => return silent().await,
            };
            let date = clock.lock().store.date();
            let answer = answer.map(|mut answer| {
                answer.headers_mut().insert(DATE, date);
                answer
            });
            match fate {
                Fate::AnswerBroken => reset(),
                Fate::AnswerSilent => silent().await,
                _ => Ok(answer.unwrap_or_else(|failure| refused(&failure))),
            }
        })
    }
}

impl ApiServer {
    /// Carries out a request.
    fn serve(&self, call: &Call, headers: &HeaderMap, body: &Bytes) -> Result<Response<AnswerBody>, ApiFailure> {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let form = Form::accepted(header(ACCEPT));
        let mut state = self.lock();
        if state.hooks.rights.as_ref().is_some_and(|rights| !rights.allow(call)) {
            return Err(refusal(call));
        }
        let Some(kind) = state.kind_of(call) else {
            let kinds = state.store.kinds();
            return match (kinds.find(&call.group, &call.plural), kinds.has_group(&call.group)) {
                // A write into all namespaces.
                (Some(_), _) if call.namespace.is_none() => Err(ApiFailure::method_not_allowed()),
                (_, true) => Err(ApiFailure::no_resource()),
                (_, false) => Ok(text(404, "404 page not found\n")),
            };
        };
        match call.verb {
            "get" => {
                state.is_status(kind, call)?;
                let key = key(call, kind);
                let missing = || ApiFailure::not_found(state.store.kinds().get(kind).subject(&key.name));
                Ok(json(200, form.of(state.store.get(&key).ok_or_else(missing)?)))
            }
            "list" => Ok(json(200, state.store.list(kind, call, form)?)),
            "watch" => {
                let (id, ticks) = state.open_watch(call);
                match Watch::open(self.clone(), &state.store, (id, ticks), kind, call, form) {
                    Ok(watch) => {
                        drop(state);
                        let frames = watch.into_stream().map(|line| line.map(Frame::data));
                        Ok(respond(200, "application/json", StreamBody::new(frames).boxed_unsync()))
                    }
                    Err(failure) => {
                        state.watches.remove(&id);
                        Err(failure)
                    }
                }
            }
            "create" | "update" | "patch" | "delete" => {
                state.store.author = Arc::from(&*call.account);
                let user_agent = header(USER_AGENT).split('/').next().unwrap_or_default().to_owned();
                let answer = state.write(kind, call, header(CONTENT_TYPE), &user_agent, body, form);
                self.changed(state);
                answer
            }
            _ => Err(ApiFailure::method_not_allowed()),
        }
    }
}

fn key(call: &Call, kind: usize) -> Key {
    let is_namespace = call.group.is_empty() && call.plural == "namespaces";
    let namespace = call.namespace.clone().filter(|_| !is_namespace).unwrap_or_default();
    Key { kind, namespace, name: call.name.clone().unwrap_or_default() }
}

impl State {
    fn write(
        &mut self,
        kind: usize,
        call: &Call,
        content_type: &str,
        user_agent: &str,
        body: &[u8],
        form: Form,
    ) -> Result<Response<AnswerBody>, ApiFailure> {
        let key = key(call, kind);
        let status = self.is_status(kind, call)?;
        let given = [call.parameter("fieldManager"), user_agent];
        let manager = given.into_iter().find(|name| !name.is_empty()).unwrap_or("unknown");
        let dry_run = call.parameter("dryRun") == "All";
        let (store, steps) = (&mut self.store, &mut self.hooks.admission);
        let mut admit = |admission: &Admission<'_>, object: &mut Value| {
            steps.iter_mut().try_for_each(|step| step(admission, object))
        };
        if call.verb == "delete" {
            // The options are in the body, or else in the query.
            let options = if body.is_empty() { Value::Null } else { read(body)? };
            let dry_run = if body.is_empty() { dry_run } else { options["dryRun"].get(0).is_some() };
            let deleted = store.delete(&key, &options, dry_run, manager, &mut admit)?;
            return Ok(match deleted {
                Deleted::Gone(status) => json(200, status.to_string().into()),
                Deleted::Object(object) => json(200, form.of(&object)),
            });
        }
        let write = Write { key: &key, status, manager, dry_run, admit: &mut admit };
        let Written { object, created } = match call.verb {
            "create" => store.create(write, read(body)?)?,
            "update" => store.update(write, read(body)?)?,
            _ => patch(store, write, call, content_type.split(';').next().unwrap_or_default(), body)?,
        };
        Ok(json(if created { 201 } else { 200 }, form.of(&object)))
    }

    /// Whether the request is about the status alone.
    fn is_status(&self, kind: usize, call: &Call) -> Result<bool, ApiFailure> {
        let known = self.store.kinds().get(kind);
        match call.subresource.as_deref() {
            None => Ok(false),
            Some("status") if known.status => Ok(true),
            // A definition names the object that has no such part.
            Some(_) if known.custom => Err(ApiFailure::not_found(known.subject(call.named().unwrap_or_default()))),
            Some(_) => Err(ApiFailure::no_resource()),
        }
    }
}

fn read(body: &[u8]) -> Result<Value, ApiFailure> {
    serde_json::from_slice(body).map_err(|error| ApiFailure::bad_request(format!("the body is no JSON: {error}")))
}

/// Carries out a patch of any sort.
fn patch(
    store: &mut Store,
    write: Write<'_>,
    call: &Call,
    content_type: &str,
    body: &[u8],
) -> Result<Written, ApiFailure> {
    let force = call.parameter("force");
    match content_type {
        APPLY_PATCH if call.parameter("fieldManager").is_empty() => Err(ApiFailure::no_manager()),
        APPLY_PATCH => {
            let text = std::str::from_utf8(body).unwrap_or_default();
            let sent = serde_json::from_str(text).ok().or_else(|| serde_saphyr::from_str(text).ok());
            let sent: Value = sent.ok_or_else(|| ApiFailure::bad_request("error decoding YAML"))?;
            store.apply(write, &sent, force == "true")
        }
        MERGE_PATCH | JSON_PATCH if !force.is_empty() => Err(ApiFailure::no_force()),
        MERGE_PATCH => {
            let patch = read(body)?;
            store.patch(write, |object| {
                json_patch::merge(object, &patch);
                Ok(())
            })
        }
        JSON_PATCH => {
            let patch: json_patch::Patch = serde_json::from_slice(body)
                .map_err(|error| ApiFailure::bad_request(format!("error decoding patch: {error}")))?;
            store.patch(write, |object| {
                json_patch::patch(object, &patch).map_err(|error| ApiFailure::unprocessable(error.to_string()))
            })
        }
        _ => {
            let accepted = [JSON_PATCH, MERGE_PATCH, APPLY_PATCH].join(", ");
            Err(ApiFailure::unsupported_media_type(format!(
                "the body of the request was in an unknown format - accepted media types include: {accepted}"
            )))
        }
    }
}

fn respond(code: u16, content_type: &'static str, body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}

fn full(bytes: Bytes) -> AnswerBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn json(code: u16, bytes: Bytes) -> Response<AnswerBody> {
    respond(code, "application/json", full(bytes))
}

fn text(code: u16, text: &'static str) -> Response<AnswerBody> {
    respond(code, "text/plain; charset=utf-8", full(Bytes::from_static(text.as_bytes())))
}

fn refused(failure: &ApiFailure) -> Response<AnswerBody> {
    let mut response = json(failure.code, failure.status().to_string().into());
    if let Some(seconds) = failure.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}
