//! The Rust files of the workspace, parsed.

use std::fs;

use syn::visit::{self, Visit};
use walkdir::WalkDir;

use crate::shell;

/// A file.
pub(super) struct Source {
    /// Its path from the root of the workspace.
    pub(super) name: String,
    pub(super) text: String,
    pub(super) file: syn::File,
}

/// All files of all crates.
pub(super) fn all() -> Vec<Source> {
    let crates = ["common", "ebpf", "daemon", "query", "tests", "xtask"].map(|name| shell::root().join(name));
    let entries = crates.iter().flat_map(WalkDir::new).filter_map(Result::ok);
    let paths = entries
        .map(walkdir::DirEntry::into_path)
        .filter(|path| path.extension().is_some_and(|it| it == "rs"));
    paths
        .map(|path| {
            let name = path.strip_prefix(shell::root()).unwrap().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).unwrap();
            let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            Source { name, text, file }
        })
        .collect()
}

/// The daemon's files without those that are only there for its tests. Names are from `daemon/src`.
pub(super) fn daemon() -> Vec<Source> {
    let mut sources = all();
    sources.retain_mut(|source| match source.name.strip_prefix("daemon/src/") {
        Some(inside) => {
            source.name = inside.to_owned();
            true
        }
        None => false,
    });
    let for_tests: Vec<_> = sources.iter().flat_map(test_modules).collect();
    sources.retain(|source| !for_tests.iter().any(|tests| module(&source.name).starts_with(tests)));
    sources
}

/// The module that a file is: `sensor/mod.rs` is `["sensor"]`, `sensor/clock.rs` is `["sensor", "clock"]`.
pub(super) fn module(name: &str) -> Vec<String> {
    let path = name.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').filter(|part| !matches!(*part, "lib" | "main")).map(str::to_owned).collect()
}

/// Modules that a file declares for tests only.
fn test_modules(source: &Source) -> Vec<Vec<String>> {
    let declared = source.file.items.iter().filter_map(|item| match item {
        syn::Item::Mod(item) if is_for_tests(&item.attrs) => Some(item.ident.to_string()),
        _ => None,
    });
    declared.map(|name| module(&source.name).into_iter().chain([name]).collect()).collect()
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|it| it.is_ident("test"))
    })
}

/// All paths that a file names outside its tests, segment by segment; those of `use` lines spelled out.
pub(super) fn paths(file: &syn::File) -> Vec<Vec<String>> {
    let mut visitor = Paths::default();
    visitor.visit_file(file);
    visitor.0
}

#[derive(Default)]
struct Paths(Vec<Vec<String>>);

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_for_tests(&item.attrs) {
            spell_out(&item.tree, &mut Vec::new(), &mut self.0);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        // A single word is a name from here, or one that a `use` line brought.
        if path.segments.len() > 1 {
            self.0.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }
}

fn spell_out(tree: &syn::UseTree, before: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    match tree {
        syn::UseTree::Path(path) => {
            before.push(path.ident.to_string());
            spell_out(&path.tree, before, paths);
            before.pop();
        }
        syn::UseTree::Group(group) => group.items.iter().for_each(|tree| spell_out(tree, before, paths)),
        syn::UseTree::Name(syn::UseName { ident }) | syn::UseTree::Rename(syn::UseRename { ident, .. }) => {
            paths.push(before.iter().cloned().chain([ident.to_string()]).collect());
        }
        syn::UseTree::Glob(_) => paths.push(before.clone()),
    }
}

/// Whether a file has unsafe blocks, functions, implementations or attributes.
pub(super) fn uses_unsafe(source: &Source) -> bool {
    let mut visitor = Unsafe(false);
    visitor.visit_file(&source.file);
    visitor.0
}

struct Unsafe(bool);

impl<'ast> Visit<'ast> for Unsafe {
    fn visit_expr_unsafe(&mut self, _: &'ast syn::ExprUnsafe) {
        self.0 = true;
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.0 |= item.unsafety.is_some();
        visit::visit_item_impl(self, item);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        self.0 |= signature.unsafety.is_some();
        visit::visit_signature(self, signature);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        self.0 |= attribute.path().is_ident("unsafe");
    }
}

#[test]
fn paths_are_spelled_out_and_tests_are_left_alone() {
    let file = syn::parse_quote! {
        use aya::{Btf, programs::{self, Lsm as Hook}, maps::*};
        #[cfg(test)]
        use proptest::prelude;
        fn f() -> procfs::ProcResult<()> { crate::event::make() }
        #[cfg(test)]
        mod tests { use tokio::net; }
    };
    let paths: Vec<_> = paths(&file).iter().map(|path| path.join("::")).collect();
    let expected = [
        "aya::Btf",
        "aya::programs::self",
        "aya::programs::Lsm",
        "aya::maps",
        "procfs::ProcResult",
        "crate::event::make",
    ];
    assert_eq!(paths, expected);
}
