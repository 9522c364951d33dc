//! The table of hooks and the programs in the kernel have the same names.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};

use super::source::{self, Source};

/// aya-ebpf's attributes that make a function a program.
const PROGRAMS: [&str; 10] = [
    "btf_tracepoint",
    "cgroup_device",
    "cgroup_skb",
    "cgroup_sock_addr",
    "classifier",
    "fentry",
    "fexit",
    "lsm",
    "raw_tracepoint",
    "tracepoint",
];

#[test]
fn the_table_names_each_program_and_no_other() {
    let sources = source::all();
    let table = sources.iter().find(|source| source.name == "daemon/src/sensor/hooks.rs").unwrap();
    let listed = names::<Rows>(table);
    let programs: BTreeSet<_> = sources
        .iter()
        .filter(|source| source.name.starts_with("ebpf/"))
        .flat_map(names::<Programs>)
        .collect();
    assert!(!programs.is_empty());
    assert_eq!(listed, programs, "left: sensor/hooks.rs, right: ebpf");
}

fn names<V: for<'ast> Visit<'ast> + Default + Into<BTreeSet<String>>>(source: &Source) -> BTreeSet<String> {
    let mut visitor = V::default();
    visitor.visit_file(&source.file);
    visitor.into()
}

/// Functions with an attribute of [`PROGRAMS`].
#[derive(Default)]
struct Programs(BTreeSet<String>);

impl From<Programs> for BTreeSet<String> {
    fn from(programs: Programs) -> Self {
        programs.0
    }
}

impl<'ast> Visit<'ast> for Programs {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if function.attrs.iter().any(|attribute| PROGRAMS.iter().any(|name| attribute.path().is_ident(name)))
        {
            self.0.insert(function.sig.ident.to_string());
        }
    }
}

/// The `name` of each `Hook { ... }`.
#[derive(Default)]
struct Rows(BTreeSet<String>);

impl From<Rows> for BTreeSet<String> {
    fn from(rows: Rows) -> Self {
        rows.0
    }
}

impl<'ast> Visit<'ast> for Rows {
    fn visit_expr_struct(&mut self, expression: &'ast syn::ExprStruct) {
        if expression.path.is_ident("Hook") {
            for field in &expression.fields {
                if let (syn::Member::Named(member), syn::Expr::Lit(value)) = (&field.member, &field.expr)
                    && let syn::Lit::Str(text) = &value.lit
                    && member == "name"
                {
                    self.0.insert(text.value());
                }
            }
        }
        visit::visit_expr_struct(self, expression);
    }
}
