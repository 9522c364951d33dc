//! Posts something to somebody who may be hostile or dead. The only user of reqwest but for what the configuration may say.

use std::{fs::File, io::Read, path::Path};

use reqwest::{
    Client, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    redirect::Policy,
};

use super::{apart::Apart, lane::Failure};
use crate::config::TokenFile;

/// How much of an answer is read, in bytes.
const ANSWER_LIMIT: usize = 16 << 10;
/// Longest token, in bytes.
const TOKEN_LIMIT: u64 = 16 << 10;

/// Whom something is posted to, and with what.
#[derive(Debug)]
pub(super) struct Door {
    /// Where. Never shown: there may be a password in it.
    pub(super) url: Url,
    pub(super) token: TokenFile,
    pub(super) headers: Vec<(String, String)>,
}

/// A client for one door.
#[derive(Debug)]
pub(super) struct Http {
    door: Door,
    /// Made at the first use: without any authority that the host trusts there can be none for https.
    client: Option<Client>,
    tokens: Apart<Result<String, String>>,
}

impl Http {
    /// A client that has done nothing yet.
    pub(super) fn new(door: Door) -> Self {
        Self { door, client: None, tokens: Apart::default() }
    }

    /// Posts `body`.
    pub(super) async fn post(&mut self, body: Vec<u8>, content_type: &str) -> Result<(), Failure> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.door.headers {
            let name = HeaderName::try_from(name).map_err(Failure::lasting)?;
            headers.append(name, secret(value)?);
        }
        headers.insert(CONTENT_TYPE, secret(content_type)?);
        if let Some(path) = self.door.token.path() {
            // Each time: it may be another one by now.
            let token = self.tokens.run(move || token(&path)).await?.map_err(Failure::passing)?;
            headers.insert(AUTHORIZATION, secret(&format!("Bearer {token}"))?);
        }
        let url = self.door.url.clone();
        let request = self.client()?.post(url).headers(headers).body(body);
        let mut answer = request.send().await.map_err(|error| failure(&error))?;
        let status = answer.status();
        // A connection is used again only once its answer was read.
        let mut text = Vec::new();
        while text.len() < ANSWER_LIMIT {
            match answer.chunk().await {
                Ok(Some(chunk)) => text.extend(chunk.iter().take(ANSWER_LIMIT - text.len())),
                Ok(None) => break,
                // What it said is said.
                Err(_) if status.is_success() => break,
                Err(error) => return Err(failure(&error)),
            }
        }
        let said = || format!("it answered {status}: {}", String::from_utf8_lossy(&text).trim());
        match status {
            _ if status.is_success() => Ok(()),
            _ if status.is_redirection() => Err(Failure::passing(format!("it answered {status}, which is not followed"))),
            StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            // What is missing may come: a route, a token.
            | StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND => Err(Failure::passing(said())),
            _ if status.is_client_error() => Err(Failure::lasting(said())),
            _ => Err(Failure::passing(said())),
        }
    }

    fn client(&mut self) -> Result<&Client, Failure> {
        if self.client.is_none() {
            self.client = Some(client(self.door.url.scheme() == "https").map_err(|error| failure(&error))?);
        }
        self.client.as_ref().ok_or_else(|| Failure::passing("there is no client"))
    }
}

fn client(secure: bool) -> reqwest::Result<Client> {
    // Already there the second time.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder()
        .user_agent(concat!("cofferdam/", env!("CARGO_PKG_VERSION")))
        // What is posted may be for nobody else's eyes, nor the token.
        .redirect(Policy::none())
        .no_proxy()
        .pool_max_idle_per_host(1);
    // Without TLS nobody need be trusted.
    if secure { builder.build() } else { builder.tls_certs_only([]).build() }
}

/// All causes in a row, and not the URL.
fn failure(error: &reqwest::Error) -> Failure {
    let mut cause = std::error::Error::source(error);
    let mut said = if error.is_connect() { "cannot connect".to_owned() } else { "cannot send".to_owned() };
    while let Some(inner) = cause {
        said = format!("{said}: {inner}");
        cause = inner.source();
    }
    Failure::passing(said)
}

fn secret(value: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(value).map_err(Failure::lasting)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Reads a token. Says why there is none, and never what is in the file.
fn token(path: &Path) -> Result<String, String> {
    let broken =
        |why: &dyn std::fmt::Display| format!("the token in {} cannot be read: {why}", path.display());
    if !std::fs::metadata(path).map_err(|error| broken(&error))?.is_file() {
        return Err(broken(&"it is no file"));
    }
    let mut text = String::new();
    let file = File::open(path).map_err(|error| broken(&error))?;
    file.take(TOKEN_LIMIT + 1).read_to_string(&mut text).map_err(|error| broken(&error))?;
    let token = text.trim();
    if token.is_empty()
        || text.len() as u64 > TOKEN_LIMIT
        || !token.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(broken(&"it is empty, too long, or no single word of ASCII"));
    }
    Ok(token.to_owned())
}
