//! Compose files -> policies: services that have a network in common may interact, others may not. Networks are the
//! same where Docker calls them the same, also in several files.

mod form;

mod ports;

mod networks;

mod services;

mod documents;

use std::collections::{BTreeMap, BTreeSet};

use serde_saphyr::Spanned;

use self::{
    form::Form,
    ports::{Published, hint},
};
use super::{File, Findings, Options, page::Page};
use crate::config::Problem;

/// Longest name of a project and of a service that attribution believes, in bytes.
const NAME_LIMIT: usize = 64;

/// All projects that were read, and the networks between them.
#[derive(Default)]
pub(super) struct Projects {
    projects: Vec<Project>,
    /// By the names that Docker has for them.
    networks: BTreeMap<String, Network>,
}

/// One file.
struct Project {
    name: String,
    /// What a reader should know of it.
    comments: Vec<String>,
    services: Vec<Service>,
    /// What the file calls its networks, and says of them.
    called: BTreeMap<String, Called>,
}

/// What a file calls a network.
#[derive(Clone, Default)]
struct Called {
    key: String,
    comments: Vec<String>,
}

/// One service.
struct Service {
    key: String,
    /// What its containers are called here: `project/service`.
    name: String,
    stand: Stand,
    published: Vec<Published>,
    comments: Vec<String>,
}

/// Where a service is.
#[derive(Clone)]
enum Stand {
    /// On the host's own network.
    Host,
    /// On these networks, by the names that Docker has for them; on none, it is alone.
    On(BTreeSet<String>),
}

/// A network.
#[derive(Default)]
struct Network {
    /// Whether it leads nowhere outside, where a file says so.
    internal: Option<bool>,
    /// Whether those on it may not interact after all.
    silent: bool,
    /// Services that are on it.
    members: BTreeSet<String>,
}

/// Reads a file.
struct Reader<'a, 'f> {
    page: &'a Page<'a>,
    findings: &'f mut Findings,
    project: String,
    comments: Vec<String>,
}

impl Projects {
    /// Reads a file.
    ///
    /// # Errors
    /// It is no Compose file, or nothing can be said without its project's name.
    pub(super) fn read(
        &mut self,
        page: &Page<'_>,
        file: &File,
        options: &Options,
        findings: &mut Findings,
    ) -> Result<(), Problem> {
        let form: Form = page.parse()?;
        let project = project(page, &form, file, options)?;
        if self.projects.iter().any(|known| known.name == project) {
            let message = format!(
                "is the second file of project `{project}`: `docker compose -f A -f B config` makes one of them"
            );
            return Err(page.begin(&message));
        }
        let comments = vec![format!("Compose project {project}, from {}", page.file())];
        let mut reader = Reader { page, findings, project, comments };
        reader.whole(&form);
        let (names, called) = reader.networks(&form, &mut self.networks);
        let services = reader.services(&form, &names);
        for Service { name, stand, .. } in &services {
            let Stand::On(networks) = stand else { continue };
            for network in networks {
                self.networks.entry(network.clone()).or_default().members.insert(name.clone());
            }
        }
        let Reader { project: name, comments, .. } = reader;
        self.projects.push(Project { name, comments, services, called });
        Ok(())
    }
}

impl Reader<'_, '_> {
    /// What concerns the file as a whole.
    fn whole(&mut self, form: &Form) {
        if let Some(include) = &form.include {
            let message = "what is included is not read: `docker compose config` makes one file of all";
            self.missing(include, "include", message);
        }
        if form.services.values().any(|service| service.value.profiles.is_some()) {
            let note = "services are imported whether their profiles are active or not";
            self.findings.note(format!("{}: {note}", self.page.file()));
        }
    }

    /// Something that cannot be told in a policy.
    fn missing<T>(&mut self, at: &Spanned<T>, key: &str, message: &str) {
        let problem = self.page.problem(at, key, message);
        self.comments.push(format!("Missing: {}", problem.line()));
        self.findings.missing.push(problem);
    }
}

/// What the project is called: as somebody says, as its file says, or as the folder is called that the file lies in.
fn project(page: &Page<'_>, form: &Form, file: &File, options: &Options) -> Result<String, Problem> {
    let fits = |name: &str| {
        let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        first && name.len() <= NAME_LIMIT && is_plain(name) && clean(name) == name
    };
    let rule = format!(
        "must be {NAME_LIMIT} small letters, digits, `-` and `_` at most, and begin with a letter or digit"
    );
    match (&options.project, &form.name) {
        (Some(name), _) if fits(name) => Ok(name.clone()),
        (Some(name), _) => Err(page.begin(&format!("its project cannot be called `{name}`: it {rule}"))),
        (None, Some(name)) if fits(&name.value) => Ok(name.value.clone()),
        (None, Some(name)) => Err(page.problem(name, "name", &format!("{rule}{}", hint(&name.value)))),
        (None, None) => {
            let name = file.folder.as_deref().map(clean).filter(|name| fits(name));
            name.ok_or_else(|| page.begin("lacks `name`: say what the project is called (--project)"))
        }
    }
}

/// A name as Compose cleans the name of a folder.
fn clean(name: &str) -> String {
    let fits = |character: &char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_');
    let clean: String = name.to_lowercase().chars().filter(fits).collect();
    clean.trim_start_matches(['-', '_']).to_owned()
}

/// Whether a name has only characters that those of Docker and Compose have.
fn is_plain(name: &str) -> bool {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    plain && !name.is_empty()
}
