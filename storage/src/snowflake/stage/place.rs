//! What the answer to PUT says: which storage, where in it, and with which credentials.

use serde_json::Value;

use super::encrypt::Material;
use crate::snowflake::secret::Secret;

/// Where files of a stage go.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) storage: Storage,
    /// Set where the client encrypts.
    pub(super) material: Option<Material>,
}

/// An object storage and the credentials for it.
#[derive(Debug)]
pub(super) enum Storage {
    S3 {
        bucket: String,
        prefix: String,
        region: String,
        /// With its scheme.
        endpoint: Option<String>,
        key_id: Secret,
        key: Secret,
        token: Secret,
    },
    /// The address of the stage's folder.
    Gcs { folder: String, token: Secret },
    /// The address of one file, which holds its own permission.
    Presigned { url: Secret },
    /// The address of the stage's folder, and the signature to append to each file's.
    Azure { folder: String, signature: Secret },
    /// A directory of this machine, for tests.
    Local { directory: String },
}

impl Place {
    /// Reads the answer's data. `plain` allows what only tests use: storage without TLS, and this
    /// machine's disk.
    pub(super) fn read(data: &Value, plain: bool) -> Result<Self, String> {
        let info = &data["stageInfo"];
        let text = |name: &str| info[name].as_str().filter(|text| !text.is_empty());
        let need = |name: &str| text(name).ok_or_else(|| format!("PUT's answer has no {name}"));
        let credential = |name: &str| {
            let text = info["creds"][name].as_str().filter(|text| !text.is_empty());
            text.map(|text| Secret::from(text.to_owned()))
        };
        let secret =
            |name: &str| credential(name).ok_or_else(|| format!("PUT's answer has no {name}"));
        let (bucket, prefix) = {
            let location = text("location").unwrap_or_default();
            let (bucket, prefix) = location.split_once('/').unwrap_or((location, ""));
            (bucket.to_owned(), prefix.trim_matches('/').to_owned())
        };
        let endpoint = text("endPoint").map(|endpoint| match endpoint.contains("://") {
            true => endpoint.trim_end_matches('/').to_owned(),
            false => format!("https://{endpoint}"),
        });
        if !plain
            && endpoint
                .as_ref()
                .is_some_and(|endpoint| !endpoint.starts_with("https://"))
        {
            return Err("PUT's answer names a storage without TLS".to_owned());
        }
        let set = |name: &str| info[name].as_bool() == Some(true);
        let storage = match need("locationType")? {
            "S3" => Storage::S3 {
                bucket,
                prefix,
                region: need("region")?.to_owned(),
                endpoint,
                key_id: secret("AWS_KEY_ID")?,
                key: secret("AWS_SECRET_KEY")?,
                token: secret("AWS_TOKEN")?,
            },
            "GCS" => match (credential("GCS_ACCESS_TOKEN"), text("presignedUrl")) {
                (Some(token), _) => {
                    let host = match endpoint {
                        Some(endpoint) => endpoint,
                        None if set("useRegionalUrl") => {
                            format!("https://storage.{}.rep.googleapis.com", need("region")?)
                        }
                        None => "https://storage.googleapis.com".to_owned(),
                    };
                    Storage::Gcs {
                        folder: folder(&host, &bucket, &prefix),
                        token,
                    }
                }
                (None, Some(url)) => {
                    if !plain && !url.starts_with("https://") {
                        return Err("PUT's answer names a storage without TLS".to_owned());
                    }
                    Storage::Presigned {
                        url: Secret::from(url.to_owned()),
                    }
                }
                (None, None) => return Err("PUT's answer has no credentials".to_owned()),
            },
            "AZURE" => {
                let account = need("storageAccount")?;
                // The end of a host's name, not an address.
                let host = match text("endPoint").unwrap_or("core.windows.net") {
                    address if address.contains("://") => address.trim_end_matches('/').to_owned(),
                    end => format!("https://{account}.blob.{end}"),
                };
                Storage::Azure {
                    folder: folder(&host, &bucket, &prefix),
                    signature: secret("AZURE_SAS_TOKEN")?,
                }
            }
            "LOCAL_FS" if plain => Storage::Local {
                directory: need("location")?.to_owned(),
            },
            other => return Err(format!("PUT's answer names a storage of kind {other}")),
        };
        let material = Material::read(&data["encryptionMaterial"])?;
        if material.is_none() && set("isClientSideEncrypted") {
            return Err("PUT's answer asks for encryption and has no key".to_owned());
        }
        Ok(Self { storage, material })
    }

    /// Whether other files than the one that was asked for can be sent to it.
    pub(super) fn serves_many(&self) -> bool {
        !matches!(self.storage, Storage::Presigned { .. })
    }
}

fn folder(host: &str, bucket: &str, prefix: &str) -> String {
    match prefix.is_empty() {
        true => format!("{host}/{bucket}"),
        false => format!("{host}/{bucket}/{prefix}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn storage(info: Value) -> Storage {
        Place::read(&json!({ "stageInfo": info }), false)
            .unwrap()
            .storage
    }

    #[test]
    fn each_cloud_is_read() {
        let s3 = storage(
            json!({"locationType": "S3", "location": "sfc-stages/ab/stages/cd/",
            "region": "us-west-2", "endPoint": null,
            "creds": {"AWS_KEY_ID": "i", "AWS_SECRET_KEY": "k", "AWS_TOKEN": "t"}}),
        );
        let Storage::S3 {
            bucket,
            prefix,
            endpoint: None,
            ..
        } = s3
        else {
            panic!("{s3:?}");
        };
        assert_eq!(
            (bucket.as_str(), prefix.as_str()),
            ("sfc-stages", "ab/stages/cd")
        );
        let gcs = storage(
            json!({"locationType": "GCS", "location": "b/p/", "region": "ME-CENTRAL2",
            "useRegionalUrl": true, "creds": {"GCS_ACCESS_TOKEN": "t"}}),
        );
        let Storage::Gcs { folder, .. } = gcs else {
            panic!("{gcs:?}")
        };
        assert_eq!(folder, "https://storage.ME-CENTRAL2.rep.googleapis.com/b/p");
        let azure = storage(json!({"locationType": "AZURE", "location": "c/p/",
            "storageAccount": "acc", "endPoint": "blob.core.windows.net".replace("blob.", ""),
            "creds": {"AZURE_SAS_TOKEN": "?sig=x"}}));
        let Storage::Azure { folder, .. } = azure else {
            panic!("{azure:?}")
        };
        assert_eq!(folder, "https://acc.blob.core.windows.net/c/p");
    }

    #[test]
    fn what_only_tests_use_is_refused() {
        let refused = |info| Place::read(&json!({ "stageInfo": info }), false).unwrap_err();
        refused(json!({"locationType": "LOCAL_FS", "location": "/etc/"}));
        let plain = refused(json!({"locationType": "GCS", "presignedUrl": "http://a/b"}));
        assert_eq!(plain, "PUT's answer names a storage without TLS");
        let unkeyed = refused(json!({"locationType": "GCS", "presignedUrl": "https://a/b",
            "isClientSideEncrypted": true}));
        assert_eq!(unkeyed, "PUT's answer asks for encryption and has no key");
    }
}
