//! Whom alerts are sent to, besides those who ask for them.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use reqwest::{
    Url,
    header::{HeaderName, HeaderValue},
};
use serde::{Deserialize, Serialize};

mod syslog;

mod template;

pub use self::{syslog::Syslog, template::Template};
use crate::event::is_hostile;

/// Most receivers of one kind: each has a task and a queue of its own.
const RECEIVERS_LIMIT: usize = 16;
/// What stands in the place of a secret.
const HIDDEN: &str = "***";
/// Most headers of one webhook.
const HEADERS_LIMIT: usize = 32;
/// Longest URL, in bytes.
const URL_LIMIT: usize = 2_048;
/// Longest path, in bytes (`PATH_MAX` with its end).
const PATH_LIMIT: usize = 4_096;
/// Says where systemd puts the credentials of this service.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// Where it usually does.
const USUAL_CREDENTIALS: &str = "/run/credentials/cofferdam.service";

/// Whom alerts are sent to. By default to nobody.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Alerts {
    /// Alertmanagers of Prometheus. Each alert is sent to all of them.
    pub alertmanagers: Few<Address>,
    /// The token that they want to see.
    pub alertmanager_token_file: TokenFile,
    /// Whoever takes HTTP.
    pub webhooks: Few<Webhook>,
    /// Whether alerts go to the journal of systemd.
    pub journald: bool,
    /// The syslog that they go to.
    pub syslog: Syslog,
    /// The file that they are added to.
    pub file: LogFile,
}

impl Alerts {
    /// The same for people to see: of URLs only where they lead, and of headers only that they are there.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        let webhook = |webhook: &Webhook| Webhook {
            url: webhook.url.without_secrets(),
            headers: webhook.headers.keys().map(|name| (name.clone(), Field(HIDDEN.to_owned()))).collect(),
            ..webhook.clone()
        };
        Self {
            alertmanagers: Few(self.alertmanagers.iter().map(Address::without_secrets).collect()),
            webhooks: Few(self.webhooks.iter().map(webhook).collect()),
            ..self.clone()
        }
    }
}

/// A list that is not long.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Vec<T>")]
pub struct Few<T>(Vec<T>);

/// Somebody who takes HTTP.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Written")]
pub struct Webhook {
    /// Where he listens.
    pub url: Address,
    /// What he wants to see besides, as a key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<Header, Field>,
    /// The media type of what is sent.
    pub content_type: Field,
    /// What is sent; the alert as JSON if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
    /// The token that he wants to see.
    #[serde(skip_serializing_if = "TokenFile::is_none")]
    pub token_file: TokenFile,
}

/// A [`Webhook`] as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    url: Address,
    #[serde(default)]
    headers: BTreeMap<Header, Field>,
    #[serde(default = "json")]
    content_type: Field,
    #[serde(default)]
    template: Option<Template>,
    #[serde(default)]
    token_file: TokenFile,
}

/// An URL of http or https. It may hold a password, or be one: only [`fmt::Display`] may be shown, which leaves all out
/// but scheme, host and port.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address(Url);

/// The name of a header of HTTP.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String")]
pub struct Header(String);

/// The value of a header of HTTP. It may be a key, and is not shown.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String")]
pub struct Field(String);

/// A file with a token in it: a path, or the name of a credential of systemd. Empty: none.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String")]
pub struct TokenFile(String);

/// The file that alerts are added to: a path. Empty: none.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String")]
pub struct LogFile(String);

fn json() -> Field {
    Field("application/json".to_owned())
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Few<T> {
    /// What is in it.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> TryFrom<Vec<T>> for Few<T> {
    type Error = String;

    fn try_from(list: Vec<T>) -> Result<Self, String> {
        if list.len() > RECEIVERS_LIMIT {
            return Err(format!("there are {}, {RECEIVERS_LIMIT} at most", list.len()));
        }
        Ok(Self(list))
    }
}

impl TryFrom<Written> for Webhook {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { url, headers, content_type, template, token_file } = written;
        if headers.len() > HEADERS_LIMIT {
            return Err(format!("there are {} headers, {HEADERS_LIMIT} at most", headers.len()));
        }
        if let Some(template) = &template {
            template.try_out(content_type.is_json())?;
        }
        Ok(Self { url, headers, content_type, template, token_file })
    }
}

impl Address {
    /// The whole of it.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// The same with nothing that could be a password, or be one.
    fn without_secrets(&self) -> Self {
        let mut url = self.0.clone();
        if !url.username().is_empty() || url.password().is_some() {
            // Only an URL without a host could not.
            let _ = url.set_username(HIDDEN).and_then(|()| url.set_password(None));
        }
        if url.path() != "/" {
            url.set_path(HIDDEN);
        }
        url.set_query(url.query().map(|_| HIDDEN));
        url.set_fragment(None);
        Self(url)
    }

    /// Below it.
    #[must_use]
    pub fn join(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}{path}", self.0.path().trim_end_matches('/')));
        url
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // Not repeated in the message: there may be a password in it.
        let refused = |why: &str| format!("is no URL as in http://alertmanager:9093: {why}");
        if text.len() > URL_LIMIT {
            return Err(refused(&format!("it is longer than {URL_LIMIT} bytes")));
        }
        let url = Url::parse(&text).map_err(|error| refused(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refused("it begins neither with http:// nor with https://"));
        }
        Ok(Self(url))
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.0.into()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.0.scheme(), self.0.host_str().unwrap_or_default())?;
        self.0.port().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Header {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Header {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let known = HeaderName::try_from(&name).map_err(|_| "is no name of a header of HTTP".to_owned())?;
        // What frames a request is ours to say.
        if ["content-length", "content-type", "host", "transfer-encoding"].contains(&known.as_str()) {
            return Err(format!("the header `{known}` cannot be set here"));
        }
        Ok(Self(name))
    }
}

impl Field {
    /// The value.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.0
    }

    /// As the name of a media type: whether that is JSON.
    fn is_json(&self) -> bool {
        let essence = self.0.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json") || essence.ends_with("+json")
    }
}

impl TryFrom<String> for Field {
    type Error = String;

    fn try_from(value: String) -> Result<Self, String> {
        if value.contains(is_hostile) || HeaderValue::from_str(&value).is_err() {
            return Err("is no value of a header of HTTP".to_owned());
        }
        Ok(Self(value))
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl TokenFile {
    /// Whether there is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Where it is, if there is one.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        if self.is_none() {
            return None;
        }
        let folder = std::env::var_os(CREDENTIALS).map_or_else(|| USUAL_CREDENTIALS.into(), PathBuf::from);
        // A path from the root stands for itself.
        Some(folder.join(&self.0))
    }
}

impl TryFrom<String> for TokenFile {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let credential = !text.contains('/') && ![".", ".."].contains(&&*text);
        if !(credential || text.starts_with('/')) || is_no_path(&text) {
            return Err(
                "must be a path that begins with /, or the name of a credential of systemd".to_owned()
            );
        }
        Ok(Self(text))
    }
}

impl LogFile {
    /// Where it is, if there is one.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        (!self.0.is_empty()).then(|| PathBuf::from(&self.0))
    }
}

impl TryFrom<String> for LogFile {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let named = text.starts_with('/') && !text.ends_with('/');
        if !(named || text.is_empty()) || is_no_path(&text) {
            return Err("must be the path of a file, from / on".to_owned());
        }
        Ok(Self(text))
    }
}

fn is_no_path(text: &str) -> bool {
    text.len() >= PATH_LIMIT || text.contains(is_hostile)
}

#[cfg(test)]
mod tests;
