//! Which host an account is at, and what it is called in a signed login.
//!
//! `https://docs.snowflake.com` calls this the account identifier: `organization-name`, or the
//! older locator with its region and cloud, `xy12345.us-east-1.aws`.

use url::Url;

use crate::{Error, Result};

/// The region whose accounts have no region in their host's name.
const FIRST_REGION: &str = "us-west-2";
const DOMAIN: &str = "snowflakecomputing";

/// The address of an account. Underscores of a name are dashes in its host: certificates do not
/// match underscores.
pub(crate) fn url_of(account: &str) -> Result<Url> {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if account.is_empty() || !account.chars().all(valid) {
        return Err(Error::User(format!(
            "ACCOUNT '{account}' is not an account identifier: give it as organization-name or \
             locator.region, without https:// and .snowflakecomputing.com"
        )));
    }
    let mut host = account.to_ascii_lowercase().replace('_', "-");
    if let Some(bare) = host.strip_suffix(&format!(".{FIRST_REGION}")) {
        host = bare.to_owned();
    }
    let region = host.split('.').nth(1).unwrap_or_default();
    let top = if region.starts_with("cn-") {
        "cn"
    } else {
        "com"
    };
    parse(&format!("https://{host}.{DOMAIN}.{top}"))
}

/// An address as users give it: a URL, or a host with or without a port.
pub(crate) fn parse(text: &str) -> Result<Url> {
    let full = match text.contains("://") {
        true => text.to_owned(),
        false => format!("https://{text}"),
    };
    let url = Url::parse(&full)
        .map_err(|error| Error::User(format!("URL '{text}' cannot be read: {error}")))?;
    if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none() {
        return Err(Error::User(format!(
            "URL '{text}' is not one of Snowflake's: give https://account.snowflakecomputing.com"
        )));
    }
    Ok(url)
}

/// The account that an address names; `None` when it is not under Snowflake's domain.
pub(crate) fn account_of(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    let (account, _) = host.split_once(&format!(".{DOMAIN}."))?;
    Some(account.to_owned())
}

/// The account in the claims of a signed login: without region and cloud, in upper case.
pub(crate) fn claim(account: &str) -> String {
    let end = match account.contains(".global") {
        true => account.find('-'),
        false => account.find('.'),
    };
    account[..end.unwrap_or(account.len())].to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_follow_the_form_of_the_account() {
        let host = |account: &str| url_of(account).unwrap().host_str().unwrap().to_owned();
        assert_eq!(host("myorg-acct"), "myorg-acct.snowflakecomputing.com");
        assert_eq!(host("My_Org-Acct"), "my-org-acct.snowflakecomputing.com");
        assert_eq!(host("xy1.us-west-2"), "xy1.snowflakecomputing.com");
        assert_eq!(
            host("xy1.us-east-1.aws"),
            "xy1.us-east-1.aws.snowflakecomputing.com"
        );
        assert_eq!(
            host("xy1.cn-north-1"),
            "xy1.cn-north-1.snowflakecomputing.cn"
        );
        for wrong in ["", "https://a.snowflakecomputing.com", "a/b", "a b"] {
            assert!(url_of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_may_lack_its_scheme() {
        let url = parse("xy1.eu-central-1.snowflakecomputing.com:443").unwrap();
        assert_eq!(url.scheme(), "https");
        assert_eq!(account_of(&url).unwrap(), "xy1.eu-central-1");
        assert_eq!(parse("http://127.0.0.1:8080").unwrap().port(), Some(8080));
        assert!(account_of(&parse("http://127.0.0.1:8080").unwrap()).is_none());
        assert!(parse("ftp://a").is_err());
    }

    #[test]
    fn claims_have_no_region() {
        assert_eq!(claim("xy12345.us-east-1.aws"), "XY12345");
        assert_eq!(claim("myorg-acct"), "MYORG-ACCT");
        assert_eq!(claim("acme-12ab34.global"), "ACME");
    }
}
