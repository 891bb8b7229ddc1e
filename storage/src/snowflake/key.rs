//! The user's private key, in the forms that Snowflake's users have: PKCS#8, encrypted PKCS#8,
//! PKCS#1, and the bare base64 body that the Spark and Kafka connectors are given.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::hash::MessageDigest;
use openssl::pkey::{Id, PKey, Private};
use openssl::sha::sha256;
use openssl::sign::Signer;

use crate::{Error, Result};

/// An RSA key that signs logins.
#[derive(Clone)]
pub(crate) struct PrivateKey {
    key: PKey<Private>,
    fingerprint: String,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.fingerprint)
    }
}

impl PrivateKey {
    /// Reads a key; `passphrase` is for an encrypted one and ignored by the others.
    pub(crate) fn parse(text: &str, passphrase: Option<&str>) -> Result<Self> {
        let text = text.trim().replace("\\n", "\n");
        let key = match text.contains("-----BEGIN") {
            true => pem(&text, passphrase)?,
            false => bare(&text, passphrase)?,
        };
        if key.id() != Id::RSA {
            return Err(Error::User(
                "PRIVATE_KEY is not an RSA key: make one with `openssl genrsa 2048`".to_owned(),
            ));
        }
        let public = key.public_key_to_der().map_err(|_| unreadable())?;
        let fingerprint = format!("SHA256:{}", STANDARD.encode(sha256(&public)));
        Ok(Self { key, fingerprint })
    }

    /// `SHA256:` and the base64 of the public key's hash, as `DESCRIBE USER` shows it.
    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Signs by RSA PKCS#1 v1.5 with SHA-256.
    pub(crate) fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        let failed = |error| Error::Internal(format!("a login cannot be signed: {error}"));
        let mut signer = Signer::new(MessageDigest::sha256(), &self.key).map_err(failed)?;
        signer.sign_oneshot_to_vec(bytes).map_err(failed)
    }
}

fn unreadable() -> Error {
    Error::User(
        "PRIVATE_KEY cannot be read: it must be a PEM file (BEGIN PRIVATE KEY, BEGIN ENCRYPTED \
         PRIVATE KEY or BEGIN RSA PRIVATE KEY) or its base64 body alone"
            .to_owned(),
    )
}

fn wrong_passphrase() -> Error {
    Error::User("PRIVATE_KEY_PASSPHRASE does not open the private key".to_owned())
}

fn needs_passphrase() -> Error {
    Error::User("the private key is encrypted: give PRIVATE_KEY_PASSPHRASE".to_owned())
}

fn pem(text: &str, passphrase: Option<&str>) -> Result<PKey<Private>> {
    if text.contains("ENCRYPTED") {
        let passphrase = passphrase.ok_or_else(needs_passphrase)?;
        return PKey::private_key_from_pem_passphrase(text.as_bytes(), passphrase.as_bytes())
            .map_err(|_| wrong_passphrase());
    }
    PKey::private_key_from_pem(text.as_bytes()).map_err(|_| unreadable())
}

fn bare(text: &str, passphrase: Option<&str>) -> Result<PKey<Private>> {
    let body: String = text.split_whitespace().collect();
    let der = STANDARD.decode(body).map_err(|_| unreadable())?;
    if let Ok(key) = PKey::private_key_from_der(&der) {
        return Ok(key);
    }
    match passphrase {
        Some(passphrase) => PKey::private_key_from_pkcs8_passphrase(&der, passphrase.as_bytes())
            .map_err(|_| wrong_passphrase()),
        None => Err(unreadable()),
    }
}

#[cfg(test)]
mod tests {
    use openssl::rsa::Rsa;
    use openssl::symm::Cipher;

    use super::*;

    fn key() -> PKey<Private> {
        PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()
    }

    fn text(pem: Vec<u8>) -> String {
        String::from_utf8(pem).unwrap()
    }

    #[test]
    fn all_forms_are_the_same_key() {
        let key = key();
        let plain = text(key.private_key_to_pem_pkcs8().unwrap());
        let rsa = text(key.rsa().unwrap().private_key_to_pem().unwrap());
        let expected = PrivateKey::parse(&plain, None).unwrap().fingerprint;
        let body: String = plain.lines().filter(|line| !line.contains("---")).collect();
        for form in [plain.clone(), rsa, body, plain.replace('\n', "\\n")] {
            assert_eq!(
                PrivateKey::parse(&form, None).unwrap().fingerprint,
                expected
            );
        }
        for cipher in [Cipher::aes_256_cbc(), Cipher::des_ede3_cbc()] {
            let pem = key.private_key_to_pem_pkcs8_passphrase(cipher, b"sesame");
            let pem = text(pem.unwrap());
            let opened = PrivateKey::parse(&pem, Some("sesame")).unwrap();
            assert_eq!(opened.fingerprint, expected);
            let body: String = pem.lines().filter(|line| !line.contains("---")).collect();
            let opened = PrivateKey::parse(&body, Some("sesame")).unwrap();
            assert_eq!(opened.fingerprint, expected);
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_key() {
        let pem = key().private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"sesame");
        let pem = text(pem.unwrap());
        let message =
            |text: &str, passphrase| PrivateKey::parse(text, passphrase).unwrap_err().to_string();
        assert_eq!(
            message(&pem, None),
            "the private key is encrypted: give PRIVATE_KEY_PASSPHRASE"
        );
        assert_eq!(
            message(&pem, Some("open")),
            "PRIVATE_KEY_PASSPHRASE does not open the private key"
        );
        let message = message("c2VjcmV0", None);
        assert!(
            message.starts_with("PRIVATE_KEY cannot be read"),
            "{message}"
        );
        assert!(!message.contains("c2VjcmV0"));
    }

    #[test]
    fn other_kinds_of_keys_are_refused() {
        let key = PKey::generate_ed25519().unwrap();
        let pem = text(key.private_key_to_pem_pkcs8().unwrap());
        let error = PrivateKey::parse(&pem, None).unwrap_err().to_string();
        assert!(
            error.starts_with("PRIVATE_KEY is not an RSA key"),
            "{error}"
        );
    }
}
