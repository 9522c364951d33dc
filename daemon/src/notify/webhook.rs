//! Whoever takes HTTP: one request for each alert.

use std::sync::Arc;

use super::{Door, Http, Receive, body::Body, lane::Failure};
use crate::{
    config::{Template, Webhook as Wanted},
    event::Alert,
};

/// One webhook.
#[derive(Debug)]
pub(super) struct Webhook {
    http: Http,
    content_type: String,
    template: Option<Template>,
    host: Arc<str>,
}

impl Webhook {
    /// The one that the configuration wants.
    pub(super) fn new(wanted: &Wanted, host: Arc<str>) -> Self {
        let headers =
            wanted.headers.iter().map(|(name, field)| (name.name().to_owned(), field.value().to_owned()));
        let door = Door {
            url: wanted.url.url().clone(),
            token: wanted.token_file.clone(),
            headers: headers.collect(),
        };
        Self {
            http: Http::new(door),
            content_type: wanted.content_type.value().to_owned(),
            template: wanted.template.clone(),
            host,
        }
    }
}

impl Receive for Webhook {
    const AT_ONCE: usize = 1;

    async fn deliver(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
        for alert in alerts {
            let body = match &self.template {
                Some(template) => template.render(&self.host, alert).map_err(Failure::lasting)?.into_bytes(),
                None => serde_json::to_vec(&Body { host: &self.host, alert }).map_err(Failure::lasting)?,
            };
            self.http.post(body, &self.content_type).await?;
        }
        Ok(())
    }
}
