//! Service account tokens: signed, bound to an audience and to objects (KEP-1205), checked against what exists now.
//!
//! A token dies with the service account, pod, node or secret it is bound to, not only with its time.
use super::{Authenticator, BadCredentials, UserInfo};
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::{KeyPair, PublicKeyData};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Who signs, and the audience that means "the API server itself".
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const EC_COORDINATE: usize = 32;

/// An object a token names: it must still exist with this uid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRef {
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// The private claim `kubernetes.io`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    pub namespace: String,
    pub serviceaccount: ObjectRef,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<ObjectRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<ObjectRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<ObjectRef>,
}

/// Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    pub iss: String,
    pub sub: String,
    pub aud: Vec<String>,
    pub exp: i64,
    pub iat: i64,
    pub nbf: i64,
    pub jti: String,
    #[serde(rename = "kubernetes.io")]
    pub bound: Bound,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the key of service account tokens is unusable: {0}")]
    Key(String),
    #[error("cannot sign a token: {0}")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

/// What [`ServiceAccountTokens`] asks of the registry.
#[async_trait]
pub trait BoundObjects: Send + Sync {
    /// The uid of a live object (`serviceaccounts`, `pods`, `nodes`, `secrets`); `None` when there is none or it is being deleted.
    async fn uid(&self, resource: &str, namespace: &str, name: &str) -> Option<String>;
}

/// Signs and checks tokens with one key.
pub struct Keys {
    sign: EncodingKey,
    check: DecodingKey,
    /// Identifies the key in the header and in the published key set.
    id: String,
    coordinates: (String, String),
}

impl Keys {
    /// From a P-256 private key, PKCS#8 PEM.
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        let pair = KeyPair::from_pem(pem).map_err(|e| Error::Key(e.to_string()))?;
        let public = pair.subject_public_key_info();
        // The raw form of an uncompressed point: 0x04, X, Y (SEC 1, 2.3.3).
        let point = pair.der_bytes();
        let coordinates = match point.split_first() {
            Some((4, xy)) if xy.len() == 2 * EC_COORDINATE => {
                let (x, y) = xy.split_at(EC_COORDINATE);
                (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y))
            }
            _ => return Err(Error::Key("not a P-256 key".into())),
        };
        let key = |e: jsonwebtoken::errors::Error| Error::Key(e.to_string());
        Ok(Self {
            sign: EncodingKey::from_ec_pem(pem.as_bytes()).map_err(key)?,
            check: DecodingKey::from_ec_components(&coordinates.0, &coordinates.1).map_err(key)?,
            id: URL_SAFE_NO_PAD.encode(Sha256::digest(public)),
            coordinates,
        })
    }

    pub fn sign(&self, claims: &Claims) -> Result<String, Error> {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &self.sign).map_err(Error::Sign)
    }

    /// Signature, times and audience; not whether what it is bound to still exists.
    fn check(&self, token: &str, audiences: &[String], now: Timestamp) -> Result<Claims, BadCredentials> {
        let mut rules = Validation::new(Algorithm::ES256);
        rules.set_issuer(&[ISSUER]);
        rules.set_audience(audiences);
        // Times are compared below, with the caller's clock.
        rules.validate_exp = false;
        rules.validate_nbf = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.check, &rules)
            .map_err(|e| BadCredentials(format!("invalid bearer token: {e}")))?
            .claims;
        let now = now.as_second();
        if now >= claims.exp {
            return Err(BadCredentials("service account token has expired".into()));
        }
        // A minute for clocks that disagree.
        if now.saturating_add(60) < claims.nbf {
            return Err(BadCredentials("service account token is not valid yet".into()));
        }
        Ok(claims)
    }

    /// `/openid/v1/jwks`
    pub fn key_set(&self) -> Value {
        let (x, y) = &self.coordinates;
        json!({"keys": [{"use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256", "x": x, "y": y}]})
    }

    /// `/.well-known/openid-configuration`
    pub fn configuration(&self) -> Value {
        json!({
            "issuer": ISSUER,
            "jwks_uri": format!("{ISSUER}/openid/v1/jwks"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }
}

/// Checks bearer tokens of requests and of TokenReviews.
pub struct ServiceAccountTokens {
    keys: Arc<Keys>,
    objects: Arc<dyn BoundObjects>,
}

impl ServiceAccountTokens {
    pub fn new(keys: Arc<Keys>, objects: Arc<dyn BoundObjects>) -> Self {
        Self { keys, objects }
    }

    /// The user behind a token, and those of `audiences` that it was made for. No audiences: the API server's own.
    pub async fn review(&self, token: &str, audiences: &[String]) -> Result<(UserInfo, Vec<String>), BadCredentials> {
        let own = [ISSUER.to_owned()];
        let wanted = if audiences.is_empty() { &own } else { audiences };
        let claims = self.keys.check(token, wanted, Timestamp::now())?;
        let bound = &claims.bound;
        self.expect("serviceaccounts", &bound.namespace, &bound.serviceaccount).await?;
        let others = [("pods", &bound.pod), ("secrets", &bound.secret), ("nodes", &bound.node)];
        for (resource, object) in others {
            if let Some(object) = object {
                let namespace = if resource == "nodes" { "" } else { bound.namespace.as_str() };
                self.expect(resource, namespace, object).await?;
            }
        }
        let mut user =
            UserInfo::service_account(&bound.namespace, &bound.serviceaccount.name, &bound.serviceaccount.uid);
        user.extra.insert("authentication.kubernetes.io/credential-id".into(), vec![format!("JTI={}", claims.jti)]);
        for (kind, object) in [("pod", &bound.pod), ("node", &bound.node)] {
            if let Some(object) = object {
                user.extra.insert(format!("authentication.kubernetes.io/{kind}-name"), vec![object.name.clone()]);
                user.extra.insert(format!("authentication.kubernetes.io/{kind}-uid"), vec![object.uid.clone()]);
            }
        }
        let granted = claims.aud.into_iter().filter(|a| wanted.contains(a)).collect();
        Ok((user, granted))
    }

    async fn expect(&self, resource: &str, namespace: &str, object: &ObjectRef) -> Result<(), BadCredentials> {
        let uid = self.objects.uid(resource, namespace, &object.name).await;
        if uid.is_some_and(|uid| object.uid.is_empty() || uid == object.uid) {
            return Ok(());
        }
        Err(BadCredentials(format!("the {resource} {:?} the token is bound to is gone", object.name)))
    }
}

#[async_trait]
impl Authenticator for ServiceAccountTokens {
    async fn authenticate(&self, request: &http::request::Parts) -> Result<Option<UserInfo>, BadCredentials> {
        let Some(token) = bearer(&request.headers) else { return Ok(None) };
        self.review(&token, &[]).await.map(|(user, _)| Some(user))
    }
}

/// The bearer token of a request: the `Authorization` header, or for browsers' WebSockets the subprotocol
/// `base64url.bearer.authorization.k8s.io.TOKEN` (`k8s.io/apiserver/pkg/authentication/request/websocket`).
fn bearer(headers: &http::HeaderMap) -> Option<String> {
    let text = |name| headers.get_all(name).iter().filter_map(|v: &http::HeaderValue| v.to_str().ok());
    let header = text(http::header::AUTHORIZATION).find_map(|v| {
        let (scheme, token) = v.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
    });
    header.filter(|t| !t.is_empty()).or_else(|| {
        let encoded = text(http::header::SEC_WEBSOCKET_PROTOCOL)
            .flat_map(|v| v.split(','))
            .find_map(|p| p.trim().strip_prefix("base64url.bearer.authorization.k8s.io."))?;
        String::from_utf8(URL_SAFE_NO_PAD.decode(encoded.trim_end_matches('=')).ok()?).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Only(&'static str, &'static str);
    #[async_trait]
    impl BoundObjects for Only {
        async fn uid(&self, resource: &str, _: &str, name: &str) -> Option<String> {
            (resource == "serviceaccounts" && name == self.0).then(|| self.1.to_owned())
        }
    }

    fn keys() -> Arc<Keys> {
        Arc::new(Keys::from_pem(&KeyPair::generate().unwrap().serialize_pem()).unwrap())
    }

    fn claims(lasts: i64, audience: &str) -> Claims {
        let now = Timestamp::now().as_second();
        Claims {
            iss: ISSUER.into(),
            sub: "system:serviceaccount:ns:robot".into(),
            aud: vec![audience.into(), "other".into()],
            exp: now + lasts,
            iat: now,
            nbf: now,
            jti: "j".into(),
            bound: Bound {
                namespace: "ns".into(),
                serviceaccount: ObjectRef { name: "robot".into(), uid: "u1".into() },
                pod: None,
                node: None,
                secret: None,
            },
        }
    }

    #[tokio::test]
    async fn a_token_is_its_service_account() {
        let keys = keys();
        let tokens = ServiceAccountTokens::new(keys.clone(), Arc::new(Only("robot", "u1")));
        let token = keys.sign(&claims(60, ISSUER)).unwrap();
        let (user, audiences) = tokens.review(&token, &[]).await.unwrap();
        assert_eq!(user.name, "system:serviceaccount:ns:robot");
        assert!(user.groups.contains(&"system:serviceaccounts:ns".to_owned()));
        assert_eq!(audiences, [ISSUER]);
        assert_eq!(tokens.review(&token, &["other".into()]).await.unwrap().1, ["other"]);
    }

    #[tokio::test]
    async fn what_is_wrong_is_refused() {
        let keys = keys();
        let tokens = ServiceAccountTokens::new(keys.clone(), Arc::new(Only("robot", "u1")));
        let strangers = self::keys().sign(&claims(60, ISSUER)).unwrap();
        let mut reborn = claims(60, ISSUER);
        reborn.bound.serviceaccount.uid = "u0".into();
        let mut orphan = claims(60, ISSUER);
        orphan.bound.pod = Some(ObjectRef { name: "p".into(), uid: "x".into() });
        let cases = [
            ("expired", keys.sign(&claims(-1, ISSUER)).unwrap()),
            ("other audience", keys.sign(&claims(60, "vault")).unwrap()),
            ("another key", strangers),
            ("another uid", keys.sign(&reborn).unwrap()),
            ("pod gone", keys.sign(&orphan).unwrap()),
            ("garbage", "a.b.c".to_owned()),
            ("empty", String::new()),
        ];
        for (what, token) in cases {
            assert!(tokens.review(&token, &[]).await.is_err(), "{what}");
        }
    }

    #[test]
    fn tokens_come_by_header_or_websocket_protocol() {
        let mut headers = http::HeaderMap::new();
        assert_eq!(bearer(&headers), None);
        let hidden =
            format!("base64url.bearer.authorization.k8s.io.{}, v4.channel.k8s.io", URL_SAFE_NO_PAD.encode("abc"));
        headers.insert(http::header::SEC_WEBSOCKET_PROTOCOL, hidden.parse().unwrap());
        assert_eq!(bearer(&headers).as_deref(), Some("abc"));
        headers.insert(http::header::AUTHORIZATION, "bearer xyz".parse().unwrap());
        assert_eq!(bearer(&headers).as_deref(), Some("xyz"));
    }
}
