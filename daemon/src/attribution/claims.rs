//! Cgroups that belong to a container because its runtime says so: `ctr run IMAGE web` makes `/default/web`, which
//! nothing but containerd can tell from any other cgroup.

use std::{collections::HashMap, sync::Arc};

use super::text::PATH_LIMIT;

/// Paths, and the containers whose own cgroups they are.
#[derive(Default)]
pub(super) struct Claims(HashMap<Arc<str>, Arc<str>>);

impl Claims {
    /// Whether a runtime may say that this is one container's: a whole path that is not everybody's.
    pub(super) fn allowed(path: &str) -> bool {
        let whole = path.strip_prefix('/').is_some_and(|rest| {
            !rest.is_empty() && rest.split('/').all(|component| !matches!(component, "" | "." | ".."))
        });
        let everybodys =
            ["/system.slice", "/user.slice", "/machine.slice", "/init.scope", "/docker", "/kubepods"];
        whole && path.len() <= PATH_LIMIT && !everybodys.contains(&path)
    }

    /// `path` is the container's. Whether that is new.
    pub(super) fn insert(&mut self, path: &str, key: &Arc<str>) -> bool {
        self.0.insert(path.into(), Arc::clone(key)).as_ref() != Some(key)
    }

    /// `path` is the container's no more, unless another has it by now.
    pub(super) fn remove(&mut self, path: &str, key: &Arc<str>) {
        if self.0.get(path) == Some(key) {
            self.0.remove(path);
        }
    }

    /// The outermost container around `path`, and its own path.
    pub(super) fn outermost<'a>(&self, path: &'a str) -> Option<(&'a str, Arc<str>)> {
        if self.0.is_empty() {
            return None;
        }
        let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
        let mut outer = ends.filter_map(|end| path.get(..end));
        outer.find_map(|outer| Some((outer, Arc::clone(self.0.get(outer)?))))
    }

    /// Whether `path` is `own` or below it.
    pub(super) fn covers(own: &str, path: &str) -> bool {
        path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_holds_for_the_path_and_what_is_below_and_the_outermost_counts() {
        let mut claims = Claims::default();
        let (web, inner): (Arc<str>, Arc<str>) = ("default/web".into(), "default/inner".into());
        assert!(claims.insert("/default/web", &web) && !claims.insert("/default/web", &web));
        claims.insert("/default/web/inner", &inner);
        let found = |path| claims.outermost(path).map(|(own, key)| (own.to_owned(), key.to_string()));
        let expected = Some(("/default/web".to_owned(), "default/web".to_owned()));
        assert_eq!(found("/default/web"), expected);
        assert_eq!(found("/default/web/inner/init"), expected);
        assert_eq!(found("/default/website"), None);
        assert_eq!(found("/"), None);
    }

    #[test]
    fn nobody_can_claim_what_is_everybodys() {
        for path in ["", "/", "default/web", "/a//b", "/a/../b", "/system.slice", &"/x".repeat(400)] {
            assert!(!Claims::allowed(path), "{path:?}");
        }
        assert!(Claims::allowed("/default/web"));
    }

    #[test]
    fn a_claim_that_another_took_over_stays_with_the_other() {
        let mut claims = Claims::default();
        let (old, new): (Arc<str>, Arc<str>) = ("old".into(), "new".into());
        claims.insert("/default/web", &old);
        claims.insert("/default/web", &new);
        claims.remove("/default/web", &old);
        assert_eq!(claims.outermost("/default/web"), Some(("/default/web", new)));
    }
}
