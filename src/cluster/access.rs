//! Who may read the operator's tables (`/debug/state`). A TokenReview identifies the token's bearer, and a
//! LocalSubjectAccessReview checks their right. `explain` creates such a token; that takes a right of the person's own.

use super::client::{CallError, deadline};
use crate::server::{Access, Authorizer};
use futures::future::BoxFuture;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo};
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, ResourceAttributes, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::api::{Api, PostParams};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// The audience of a token. The API server accepts no other audience than its own, so a stranger who gets this token can only
/// read an operator's tables with it.
pub const AUDIENCE: &str = "citrix-allowlist-operator";

/// The group of the right.
pub const GROUP: &str = "citrix-allowlist.io";
/// The resource of the right, which nothing serves: RBAC takes any name. The verb is `get`, the namespace the operator's.
pub const RESOURCE: &str = "debugstates";

/// The ServiceAccount whose tokens read the tables, by the name of the operator's own.
#[must_use]
pub fn reader_of(account: &str) -> String {
    format!("{account}-explain")
}

/// How long one review may take. `explain` waits five seconds for all of it.
const CALL_LIMIT: Duration = Duration::from_secs(2);

/// Reviews by the API server.
#[derive(Clone)]
pub struct Reviews {
    client: Client,
    namespace: String,
}

impl Reviews {
    /// Reviews any token, and rights in the operator's own namespace. It needs to create TokenReviews, and
    /// LocalSubjectAccessReviews there.
    #[must_use]
    pub const fn new(client: Client, namespace: String) -> Self {
        Self { client, namespace }
    }

    async fn judged(&self, token: &str) -> Access {
        let review = TokenReview {
            spec: TokenReviewSpec { token: token.to_owned(), audiences: Some(vec![AUDIENCE.to_owned()]) },
            ..TokenReview::default()
        };
        let reviewed = create(Api::all(self.client.clone()), &review).await;
        let user = match reviewed.map(|review| bearer(review.status.unwrap_or_default())) {
            Ok(Ok(user)) => user,
            Ok(Err(reason)) => return Access::Unknown(reason),
            Err(error) => return Access::Undecided(format!("the token cannot be reviewed: {error}")),
        };
        let name = user.username.clone().unwrap_or_default();
        let review = LocalSubjectAccessReview { spec: question(user, &self.namespace), ..Default::default() };
        match create(Api::namespaced(self.client.clone(), &self.namespace), &review).await {
            Ok(review) => answer(&name, &self.namespace, &review.status.unwrap_or_default()),
            Err(error) => Access::Undecided(format!("the right of {name} cannot be reviewed: {error}")),
        }
    }
}

impl Authorizer for Reviews {
    fn judge<'a>(&'a self, token: Option<&'a str>) -> BoxFuture<'a, Access> {
        Box::pin(async move {
            match token {
                Some(token) => self.judged(token).await,
                None => Access::Unknown(format!(
                    "a token for the audience {AUDIENCE} is needed, such as `kubectl create token` gives"
                )),
            }
        })
    }
}

async fn create<K>(api: Api<K>, review: &K) -> Result<K, CallError>
where
    K: Resource + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
{
    deadline(CALL_LIMIT, api.create(&PostParams::default(), review)).await
}

/// The bearer of a token, from its review. An authenticator that knows no audiences leaves them out: such an answer is about the
/// API server's own audience, and not enough.
fn bearer(status: TokenReviewStatus) -> Result<UserInfo, String> {
    if status.authenticated != Some(true) {
        return Err(format!("the token is not valid for the audience {AUDIENCE}"));
    }
    if !status.audiences.iter().flatten().any(|audience| audience == AUDIENCE) {
        return Err(format!("the token is for another audience than {AUDIENCE}"));
    }
    status.user.filter(|user| user.username.is_some()).ok_or_else(|| "the token names nobody".to_owned())
}

/// The review of a user's right.
fn question(user: UserInfo, namespace: &str) -> SubjectAccessReviewSpec {
    SubjectAccessReviewSpec {
        user: user.username,
        groups: user.groups,
        uid: user.uid,
        extra: user.extra,
        resource_attributes: Some(ResourceAttributes {
            namespace: Some(namespace.to_owned()),
            group: Some(GROUP.to_owned()),
            resource: Some(RESOURCE.to_owned()),
            verb: Some("get".to_owned()),
            ..ResourceAttributes::default()
        }),
        ..SubjectAccessReviewSpec::default()
    }
}

fn answer(name: &str, namespace: &str, status: &SubjectAccessReviewStatus) -> Access {
    if status.allowed && status.denied != Some(true) {
        return Access::Granted;
    }
    Access::Denied(format!("{name} may not get {RESOURCE}.{GROUP} in namespace {namespace}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(authenticated: bool, audiences: &[&str], user: Option<&str>) -> TokenReviewStatus {
        TokenReviewStatus {
            authenticated: Some(authenticated),
            audiences: Some(audiences.iter().map(|audience| (*audience).to_owned()).collect()),
            user: user.map(|name| UserInfo { username: Some(name.to_owned()), ..UserInfo::default() }),
            ..TokenReviewStatus::default()
        }
    }

    #[test]
    fn a_bearer_needs_a_token_for_this_audience() {
        assert!(bearer(status(true, &["other", AUDIENCE], Some("alice"))).is_ok());
        for unknown in [
            status(false, &[AUDIENCE], Some("alice")),
            status(true, &[], Some("alice")),
            status(true, &["https://kubernetes.default.svc"], Some("alice")),
            status(true, &[AUDIENCE], None),
            TokenReviewStatus::default(),
        ] {
            assert!(bearer(unknown.clone()).is_err(), "{unknown:?}");
        }
    }

    #[test]
    fn a_right_is_reviewed_for_the_bearers_user_groups_and_extras() {
        let user = UserInfo {
            username: Some("alice".to_owned()),
            groups: Some(vec!["on-call".to_owned()]),
            uid: Some("7".to_owned()),
            extra: Some([("scopes".to_owned(), vec!["few".to_owned()])].into()),
        };
        let spec = question(user.clone(), "ops");
        assert_eq!((spec.user, spec.groups, spec.uid, spec.extra), (user.username, user.groups, user.uid, user.extra));
        let attributes = spec.resource_attributes.expect("a resource");
        assert_eq!((attributes.namespace.as_deref(), attributes.verb.as_deref()), (Some("ops"), Some("get")));
    }

    #[test]
    fn a_refused_user_reads_which_right_is_missing() {
        let status = |allowed, denied| SubjectAccessReviewStatus { allowed, denied, ..Default::default() };
        assert_eq!(answer("alice", "ops", &status(true, None)), Access::Granted);
        let missing = "alice may not get debugstates.citrix-allowlist.io in namespace ops".to_owned();
        assert_eq!(answer("alice", "ops", &status(false, None)), Access::Denied(missing.clone()));
        assert_eq!(answer("alice", "ops", &status(true, Some(true))), Access::Denied(missing));
    }
}
