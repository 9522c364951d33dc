//! Networks of a Compose file: what Docker calls them, and what they let pass.

use std::collections::BTreeMap;

use super::{
    Called, Network, Reader,
    form::{self, External, Form, Setting},
    is_plain,
    ports::hint,
};
use crate::policy::import::page::Loose;

/// The network that a service without any is on.
pub(super) const DEFAULT: &str = "default";
/// What tells a bridge whether its containers may interact.
const INTERACT: &str = "com.docker.network.bridge.enable_icc";
/// Drivers that give containers addresses of the network outside.
const ON_THE_WIRE: [&str; 2] = ["macvlan", "ipvlan"];

const EXTERNAL: &str =
    "external: who is on it besides is not known here, and whether it leads outside is not either";
const WIRE: &str = "peers of its own network reach all ports of a container; here it is the published ones";

/// What Docker calls the networks, by their keys.
pub(super) type Names = BTreeMap<String, String>;

/// What those have in common who share the network of a service: more than networks of Docker, none of which is called so.
pub(super) fn shared(service: &str) -> String {
    format!("of:{service}")
}

/// The service that is shared, if that is what is called so.
pub(super) fn sharing(network: &str) -> Option<&str> {
    network.strip_prefix("of:")
}

impl Reader<'_, '_> {
    /// The networks of a file, which others may know already.
    pub(super) fn networks(
        &mut self,
        form: &Form,
        known: &mut BTreeMap<String, Network>,
    ) -> (Names, BTreeMap<String, Called>) {
        let nothing = form::Network::default();
        let written = form.networks.iter().flatten();
        let mut networks: BTreeMap<&str, &form::Network> =
            written.map(|(key, network)| (key.as_str(), network.as_ref().unwrap_or(&nothing))).collect();
        networks.entry(DEFAULT).or_insert(&nothing);
        let (mut names, mut called) = (Names::new(), BTreeMap::new());
        for (key, network) in networks {
            let name = self.name(key, network);
            let known = known.entry(name.clone()).or_default();
            let mut comments = Vec::new();
            if is_external(network) {
                comments.push(EXTERNAL.to_owned());
            } else {
                // Where several files make it, the strictest counts.
                let internal = network.internal.unwrap_or(false) || known.internal.unwrap_or(false);
                known.internal = Some(internal);
                known.silent |= is_silent(network);
            }
            if known.silent {
                comments.push(format!("{INTERACT} is false"));
            }
            if let Some(driver) = network.driver.as_deref().filter(|driver| ON_THE_WIRE.contains(driver)) {
                let note = format!("network `{key}` has driver {driver}: {WIRE}");
                self.findings.note(format!("{}: {note}", self.page.file()));
                comments.push(format!("{driver}: {WIRE}"));
            }
            called.entry(name.clone()).or_insert_with(|| Called { key: key.to_owned(), comments });
            names.insert(key.to_owned(), name);
        }
        (names, called)
    }

    /// What Docker calls a network.
    fn name(&mut self, key: &str, network: &form::Network) -> String {
        let own = format!("{}_{key}", self.project);
        let in_external = match &network.external {
            Some(External::Named { name: Some(name) }) => Some(name),
            _ => None,
        };
        let (name, at) = match (in_external, &network.name) {
            (Some(name), _) => (name, None),
            (None, Some(name)) => (&name.value, Some(name)),
            (None, None) if is_external(network) => return key.to_owned(),
            (None, None) => return own,
        };
        if is_plain(name) {
            return name.clone();
        }
        let message = format!("`{name}` is no name of a network{}", hint(name));
        let key = format!("networks.{key}.name");
        match at {
            Some(at) => self.missing(at, &key, &message),
            None => self.missing_of_file(&key, &message),
        }
        // Nobody else is on it.
        own
    }

    /// Something that cannot be told in a policy, and whose place is not known.
    fn missing_of_file(&mut self, key: &str, message: &str) {
        let problem = self.page.begin(&format!("`{key}`: {message}"));
        self.comments.push(format!("Missing: {}", problem.line()));
        self.findings.missing.push(problem);
    }
}

fn is_external(network: &form::Network) -> bool {
    match &network.external {
        Some(External::Is(is)) => *is,
        Some(External::Named { .. }) => true,
        None => false,
    }
}

/// Whether nobody on it may interact: unless the setting is true as Docker reads it (Go's `strconv.ParseBool`), or absent.
fn is_silent(network: &form::Network) -> bool {
    let setting = network.driver_opts.as_ref().and_then(|options| options.get(INTERACT)?.as_ref());
    match setting {
        Some(Setting::Is(is)) => !is,
        Some(Setting::Text(Loose::Text(text))) => {
            !matches!(&**text, "1" | "t" | "T" | "TRUE" | "true" | "True")
        }
        Some(Setting::Text(Loose::Number(number))) => *number != 1,
        None => false,
    }
}
