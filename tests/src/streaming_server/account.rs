//! Who may do what: a user with a key pair, and tokens that are good for streaming only.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Public};
use openssl::rsa::Rsa;
use openssl::sha::sha256;
use openssl::sign::Verifier;
use serde_json::{Value, json};

pub(super) const ACCOUNT: &str = "kappa-streaming";
pub(super) const USER: &str = "STREAMER";
pub(super) const OAUTH: &str = "token-of-an-oauth-integration";
pub(super) const ACCESS: &str = "programmatic-access-token";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The user's keys. Made once: that takes long.
#[derive(Debug)]
struct Keys {
    private_key: String,
    public: PKey<Public>,
    fingerprint: String,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let made = || {
        let pair = PKey::from_rsa(Rsa::generate(2048)?)?;
        let public = PKey::public_key_from_der(&pair.public_key_to_der()?)?;
        Ok((
            pair.private_key_to_pem_pkcs8()?,
            public.public_key_to_der()?,
            public,
        ))
    };
    let (pem, der, public) =
        made().unwrap_or_else(|error: openssl::error::ErrorStack| panic!("a key: {error}"));
    Keys {
        private_key: String::from_utf8_lossy(&pem).into_owned(),
        public,
        fingerprint: format!("SHA256:{}", STANDARD.encode(sha256(&der))),
    }
});

/// The user's private key, PKCS#8 in PEM.
pub(super) fn private_key() -> String {
    KEYS.private_key.clone()
}

#[derive(Debug)]
pub(super) struct Account {
    pub(super) token_seconds: i64,
    pub(super) tokens_given: u64,
    /// Scoped tokens and when they end, in seconds since 1970.
    scoped: BTreeMap<String, i64>,
}

impl Account {
    pub(super) fn new() -> Self {
        Self {
            token_seconds: 3600,
            tokens_given: 0,
            scoped: BTreeMap::new(),
        }
    }

    /// Whether a login at the account's host is good.
    pub(super) fn check_login(&self, token: &str, token_type: Option<&str>) -> Result<(), String> {
        match token_type {
            Some("OAUTH") if token == OAUTH => Ok(()),
            Some("PROGRAMMATIC_ACCESS_TOKEN") if token == ACCESS => Ok(()),
            // Who does not say sends a key pair's.
            Some("KEYPAIR_JWT") | None => self.check_jwt(token),
            other => Err(format!("no such token of type {other:?}")),
        }
    }

    /// Whether a token was signed by the user's key for this account, and holds now.
    pub(super) fn check_jwt(&self, token: &str) -> Result<(), String> {
        let parts: Vec<&str> = token.split('.').collect();
        let [head, claims, signature] = parts[..] else {
            return Err("JWT token is invalid: no JWT".into());
        };
        let decoded = |part: &str| {
            URL_SAFE_NO_PAD
                .decode(part)
                .map_err(|error| error.to_string())
        };
        let json = |part: &str| -> Result<Value, String> {
            serde_json::from_slice(&decoded(part)?).map_err(|error| error.to_string())
        };
        let signed = format!("{head}.{claims}");
        let verified = || {
            let mut verifier = Verifier::new(MessageDigest::sha256(), &KEYS.public)?;
            verifier.update(signed.as_bytes())?;
            verifier.verify(&decoded(signature).unwrap_or_default())
        };
        if !verified().unwrap_or(false) {
            return Err("JWT token is invalid: signature".into());
        }
        let (head, claims) = (json(head)?, json(claims)?);
        let subject = format!("{}.{USER}", ACCOUNT.to_uppercase());
        // Snowflake's own client gives milliseconds, the documentation seconds.
        let seconds = |claim: &str| {
            let time = claims[claim].as_i64()?;
            Some(if time > 100_000_000_000 {
                time / 1000
            } else {
                time
            })
        };
        let (issued, end) = (seconds("iat"), seconds("exp"));
        let now = now_seconds();
        let good = head["alg"] == "RS256"
            && claims["sub"] == subject.as_str()
            && claims["iss"] == format!("{subject}.{}", KEYS.fingerprint).as_str()
            && issued.is_some_and(|issued| issued <= now + 30)
            && end
                .zip(issued)
                .is_some_and(|(end, issued)| end > now && end - issued <= 3600);
        match good {
            true => Ok(()),
            false => Err(format!("JWT token is invalid: {claims}")),
        }
    }

    /// Whether a token is good for the interface.
    pub(super) fn check_scoped(&self, token: &str, token_type: Option<&str>) -> Result<(), String> {
        if token_type == Some("PROGRAMMATIC_ACCESS_TOKEN") && token == ACCESS {
            return Ok(());
        }
        match self.scoped.get(token) {
            Some(end) if *end > now_seconds() => Ok(()),
            Some(_) => Err("the scoped token has ended".into()),
            None => Err("no scoped token".into()),
        }
    }

    /// A scoped token for a request that asks for one.
    pub(super) fn exchange(&mut self, form: &[u8], host: &str) -> Result<String, String> {
        let form: BTreeMap<_, _> = url::form_urlencoded::parse(form).into_owned().collect();
        if form.get("grant_type").map(String::as_str) != Some(GRANT) {
            return Err(format!("grant_type of {form:?}"));
        }
        if form.get("scope").map(String::as_str) != Some(host) {
            return Err(format!("scope of {form:?} is not {host}"));
        }
        self.tokens_given += 1;
        let end = now_seconds() + self.token_seconds;
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        // Nobody checks who signed it, but Snowflake's own client wants a name there.
        let head = part(json!({"alg": "HS256"}));
        let claims = part(json!({"exp": end, "scope": host}));
        let token = format!("{head}.{claims}.{}", self.tokens_given);
        self.scoped.insert(token.clone(), end);
        Ok(token)
    }

    /// All scoped tokens end.
    pub(super) fn expire(&mut self) {
        self.scoped.clear();
    }
}

#[expect(clippy::disallowed_methods, reason = "servers have the machine's time")]
fn now_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}
