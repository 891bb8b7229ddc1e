//! The signed login of a user with a key pair: a JSON web token, RS256.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::account;
use super::key::PrivateKey;
use super::secret::Secret;
use crate::Result;

/// How long a token may be used, in seconds. It is used once, at once; the rest allows for a
/// clock that is a little off.
const VALID_SECONDS: i64 = 120;

/// A token of `user` in `account`, made at `now_ms`.
pub(crate) fn sign(key: &PrivateKey, account: &str, user: &str, now_ms: i64) -> Result<Secret> {
    let subject = format!("{}.{}", account::claim(account), user.to_uppercase());
    let issued = now_ms.div_euclid(1000);
    let claims = json!({
        "iss": format!("{subject}.{}", key.fingerprint()),
        "sub": subject,
        "iat": issued,
        "exp": issued + VALID_SECONDS,
    });
    let header = json!({"alg": "RS256", "typ": "JWT"});
    let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
    let signed = format!(
        "{}.{}",
        encode(header.to_string()),
        encode(claims.to_string())
    );
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes())?);
    Ok(Secret::from(format!("{signed}.{signature}")))
}

#[cfg(test)]
mod tests {
    use openssl::hash::MessageDigest;
    use openssl::pkey::PKey;
    use openssl::rsa::Rsa;
    use openssl::sign::Verifier;
    use serde_json::Value;

    use super::*;

    #[test]
    fn claims_and_signature_are_those_of_the_key() {
        let pair = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let pem = String::from_utf8(pair.private_key_to_pem_pkcs8().unwrap()).unwrap();
        let key = PrivateKey::parse(&pem, None).unwrap();
        let token = sign(&key, "xy1.us-east-1", "loader", 1_700_000_000_999).unwrap();
        let parts: Vec<&str> = token.reveal().split('.').collect();
        let claims = URL_SAFE_NO_PAD.decode(parts[1]).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims["sub"], "XY1.LOADER");
        assert_eq!(claims["iss"], format!("XY1.LOADER.{}", key.fingerprint()));
        assert_eq!(claims["iat"], 1_700_000_000);
        assert_eq!(claims["exp"], 1_700_000_120);
        let mut verifier = Verifier::new(MessageDigest::sha256(), &pair).unwrap();
        verifier
            .update(format!("{}.{}", parts[0], parts[1]).as_bytes())
            .unwrap();
        let signature = URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
        assert!(verifier.verify(&signature).unwrap());
    }
}
