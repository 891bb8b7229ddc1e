//! Encryption by the client, which stages have that are not encrypted by the server: AES-CBC with a
//! key per file, which is wrapped by AES-ECB under the stage's key.
//!
//! The file's key and start vector are made from the stage's key and the file's name rather than at
//! random. Names are never used for other bytes, so this gives nothing away, and a file that is put
//! again after a crash is the same bytes: with others, Snowflake would load it a second time.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use openssl::symm::{Cipher, encrypt};
use serde_json::{Value, json};

use crate::snowflake::secret::Secret;
use crate::{Error, Result};

const BLOCK: usize = 16;

/// The stage's key, and what tells Snowflake which one it is.
#[derive(Debug)]
pub(super) struct Material {
    key: Secret,
    query_id: String,
    master_id: String,
}

/// An encrypted file and what goes with it.
pub(super) struct Encrypted {
    pub(super) bytes: Vec<u8>,
    /// The file's key, wrapped, in base64.
    pub(super) key: String,
    /// The start vector in base64.
    pub(super) iv: String,
    /// Which stage's key wraps it, in JSON.
    pub(super) description: String,
}

impl Material {
    /// Reads `encryptionMaterial` of an answer; `None` where it has none.
    pub(super) fn read(value: &Value) -> Result<Option<Self>, String> {
        // One answer for several files has one for each, all the same.
        let value = value
            .as_array()
            .and_then(|all| all.first())
            .unwrap_or(value);
        let Some(key) = value["queryStageMasterKey"].as_str() else {
            return Ok(None);
        };
        let master_id = match &value["smkId"] {
            Value::String(id) => id.clone(),
            id => id.to_string(),
        };
        let material = Self {
            key: Secret::from(key.to_owned()),
            query_id: value["queryId"].as_str().unwrap_or_default().to_owned(),
            master_id,
        };
        match material.stage_key() {
            Some(_) => Ok(Some(material)),
            None => Err("the stage's key is none of AES-128 or AES-256".to_owned()),
        }
    }

    fn stage_key(&self) -> Option<Vec<u8>> {
        let key = STANDARD.decode(self.key.reveal()).ok()?;
        matches!(key.len(), 16 | 32).then_some(key)
    }

    /// Encrypts the file that is called `name`.
    pub(super) fn encrypt(&self, name: &str, bytes: &[u8]) -> Result<Encrypted> {
        let failed = |error| Error::Internal(format!("a file cannot be encrypted: {error}"));
        let stage_key = self.stage_key();
        let stage_key = stage_key.ok_or_else(|| Error::Internal("no stage's key".to_owned()))?;
        let derive = |purpose: &str| {
            let key = PKey::hmac(&stage_key)?;
            let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
            signer.sign_oneshot_to_vec(format!("kappa {purpose} {name}").as_bytes())
        };
        let mut file_key = derive("key").map_err(failed)?;
        let mut iv = derive("iv").map_err(failed)?;
        file_key.truncate(stage_key.len());
        iv.truncate(BLOCK);
        self.encrypt_with(&stage_key, &file_key, &iv, bytes)
            .map_err(failed)
    }

    fn encrypt_with(
        &self,
        stage_key: &[u8],
        file_key: &[u8],
        iv: &[u8],
        bytes: &[u8],
    ) -> std::result::Result<Encrypted, openssl::error::ErrorStack> {
        let (chained, single) = match stage_key.len() {
            16 => (Cipher::aes_128_cbc(), Cipher::aes_128_ecb()),
            _ => (Cipher::aes_256_cbc(), Cipher::aes_256_ecb()),
        };
        let description = json!({
            "queryId": self.query_id,
            "smkId": self.master_id,
            "keySize": (stage_key.len() * 8).to_string(),
        });
        Ok(Encrypted {
            bytes: encrypt(chained, file_key, Some(iv), bytes)?,
            key: STANDARD.encode(encrypt(single, stage_key, None, file_key)?),
            iv: STANDARD.encode(iv),
            description: description.to_string(),
        })
    }
}

impl Encrypted {
    /// How GCS and Azure are told.
    pub(super) fn data(&self) -> String {
        json!({
            "EncryptionMode": "FullBlob",
            "WrappedContentKey": {
                "KeyId": "symmKey1",
                "EncryptedKey": self.key,
                "Algorithm": "AES_CBC_256",
            },
            "EncryptionAgent": {"Protocol": "1.0", "EncryptionAlgorithm": "AES_CBC_256"},
            "ContentEncryptionIV": self.iv,
            "KeyWrappingMetadata": {"EncryptionLibrary": "Java 5.3.0"},
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn material(stage_key: &[u8]) -> Material {
        let value = json!({
            "queryStageMasterKey": STANDARD.encode(stage_key),
            "queryId": "01b0-q",
            "smkId": 34577,
        });
        Material::read(&value).unwrap().unwrap()
    }

    /// The same inputs through `SnowflakeEncryptionUtil` of snowflake-connector-python 4.8.1.
    #[test]
    fn it_is_what_the_public_connector_makes() {
        let expected = [
            (
                16,
                "pWyZ3snZ9IyFn6iq0sw17eUXF46a3f4lbV5COSLpX/w=",
                "2CqewjgKwS1CHp6FmnQtvLzJVtUNOPKOD22wUWNcVTk=",
            ),
            (
                32,
                "a1r9EZNbR2jl+yj1WXeH5hwnnSnaYwsSOWLDbtskX5q8/nZKMKv0/EZ3UwbtfjIY",
                "yfwryCjp+x80QU70jeHMGWqH5LjVTJiVcNzBtEbB6vo=",
            ),
        ];
        for (length, key, bytes) in expected {
            let stage_key: Vec<u8> = (200..200 + length).collect();
            let file_key: Vec<u8> = (0..length).collect();
            let iv: Vec<u8> = (100..116).collect();
            let plain = b"kappa lands a unit exactly once";
            let made = material(&stage_key).encrypt_with(&stage_key, &file_key, &iv, plain);
            let made = made.unwrap();
            assert_eq!(made.key, key);
            assert_eq!(made.iv, "ZGVmZ2hpamtsbW5vcHFycw==");
            assert_eq!(STANDARD.encode(&made.bytes), bytes);
            let description: Value = serde_json::from_str(&made.description).unwrap();
            let size = (u32::from(length) * 8).to_string();
            let expected = json!({"queryId": "01b0-q", "smkId": "34577", "keySize": size});
            assert_eq!(description, expected);
        }
    }

    #[test]
    fn a_file_is_the_same_bytes_at_every_try_and_no_other_files() {
        let made = |name| material(&[7; 16]).encrypt(name, b"rows").unwrap().bytes;
        assert_eq!(made("a"), made("a"));
        assert_ne!(made("a"), made("b"));
    }

    #[test]
    fn keys_of_other_lengths_are_refused() {
        let value = json!({"queryStageMasterKey": STANDARD.encode([1; 24])});
        assert!(Material::read(&value).is_err());
        assert!(Material::read(&Value::Null).unwrap().is_none());
    }
}
