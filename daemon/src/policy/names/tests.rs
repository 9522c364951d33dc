//! Patterns in, keys, numbers and classes out.

use std::sync::Arc;

use super::*;
use crate::policy::{Plan, RuleNumbers, model::Direction, model::Policy, model::Rule, samples};

fn pattern(text: &str) -> NamePattern {
    NamePattern::try_from(text.to_owned()).unwrap()
}

/// A plan of one rule, whose subjects may send to these, one entry for each.
fn plan(patterns: &[&str]) -> Plan {
    let entries = patterns.iter().map(|text| samples::entry(vec![samples::dns(text)])).collect();
    let rule = Rule { direction: Direction::Egress, ..samples::rule_with(entries) };
    let policy = Policy { rules: vec![rule], ..samples::policy("shop") };
    Plan::new(vec![Arc::new(policy)], samples::OPEN, &mut RuleNumbers::default()).unwrap()
}

/// The entries of the trie, each with its pattern, if it has one, and the entries of the sample that are about it.
fn entries(patterns: &[&str]) -> Vec<(String, bool, Vec<Atom>)> {
    let plan = plan(patterns);
    let atoms = |pattern: &NamePattern| {
        plan.signature_of_name(pattern.as_str()).map_or(Vec::new(), |it| it.atoms.into())
    };
    let told =
        plan.patterns().map(|(pattern, id, _)| (pattern.to_string(), id != PatternId::NONE, atoms(pattern)));
    told.collect()
}

#[test]
fn a_pattern_is_kept_in_lower_case_without_the_dot_at_its_end() {
    assert_eq!(pattern("API.Example.org.").as_str(), "api.example.org");
    assert_eq!(pattern("*.Example.org.").as_str(), "*.example.org");
    assert_eq!((pattern("db").is_whole(), pattern("*.db").is_whole()), (true, false));
    let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "a".repeat(61));
    assert_eq!(pattern(&longest).as_str().len(), 253);
    let (_, bits) = pattern(&longest).key(0);
    assert_eq!(bits, 8 * 256);
}

#[test]
fn the_number_of_a_pattern_is_the_same_for_ever() {
    assert_eq!(pattern("api.example.org").id(), PatternId(0x10ce_7d3b_2348_f613));
    assert_eq!(pattern("*.example.org").id(), PatternId(0x1a69_98e9_7308_eac5));
    assert_eq!(pattern("API.example.org.").id(), pattern("api.example.org").id());
}

#[test]
fn a_pattern_means_its_name_or_all_names_below() {
    let means = |text: &str, name: &str| pattern(text).means(name);
    assert!(means("api.example.org", "API.example.org."));
    assert!(!means("api.example.org", "x.api.example.org"));
    assert!(means("*.example.org", "api.example.org") && means("*.example.org", "a.b.example.org"));
    assert!(!means("*.example.org", "example.org") && !means("*.example.org", "anexample.org"));
    // A label with a dot in it, as it is written out.
    assert!(!means("*.example.org", r"api\.example.org"));
    let covers = |wide: &str, narrow: &str| pattern(wide).covers(&pattern(narrow));
    assert!(covers("*.org", "*.example.org") && covers("*.org", "example.org") && covers("*.org", "*.org"));
    assert!(!covers("*.example.org", "*.org") && !covers("org", "*.org") && !covers("*.org", "org"));
}

#[test]
fn the_key_of_a_name_begins_as_that_of_the_pattern_that_means_it() {
    let (name, _) = pattern("api.example.org").key(1);
    let (below, bits) = pattern("*.example.org").key(1);
    let bytes = bits as usize / 8 - 1;
    assert_eq!(below.name[..bytes], *b"gro\x03elpmaxe\x07");
    assert_eq!((name.slot, &name.name[..bytes]), (1, &below.name[..bytes]));
    let (whole, bits) = pattern("org").key(0);
    assert_eq!((bits, whole.name[..5].to_vec()), (8 * 6, b"gro\x03A".to_vec()));
}

#[test]
fn each_pattern_has_all_that_are_about_its_names() {
    let of = |text: &str, is_pattern, atoms: &[Atom]| (text.to_owned(), is_pattern, atoms.to_vec());
    assert_eq!(
        entries(&["*.org", "*.example.org", "api.example.org", "x.net"]),
        [
            of("*.example.org", true, &[0, 1]),
            of("*.org", true, &[0]),
            of("api.example.org", true, &[0, 1, 2]),
            // Else it would be one of the names below it.
            of("example.org", true, &[0]),
            of("org", false, &[]),
            of("x.net", true, &[3]),
        ]
    );
    assert_eq!(entries(&["*.a.b", "a.b"]), [of("*.a.b", true, &[0]), of("a.b", true, &[1])]);
}

#[test]
fn a_name_has_the_longest_pattern() {
    let plan = plan(&["*.org", "*.example.org", "api.example.org"]);
    let found = |name: &str| plan.pattern(plan.pattern_of(name));
    assert_eq!(found("API.example.org."), Some("api.example.org"));
    assert_eq!(found("x.api.example.org"), Some("*.example.org"));
    assert_eq!(found("*.example.org"), Some("*.example.org"));
    assert_eq!(found("*.api.example.org"), Some("*.example.org"));
    assert_eq!(found("example.org"), Some("example.org"));
    assert_eq!(found("x.y.org"), Some("*.org"));
    assert_eq!((found("org"), found("example.net"), found("")), (None, None, None));
    assert_eq!(plan.pattern_of("org"), PatternId::NONE);
    assert_eq!(plan.identity_of_pattern(PatternId::NONE), None);
    assert_eq!(plan.identity_of_pattern(pattern("*.net").id()), None);
    assert_ne!(plan.identity_of_pattern(pattern("*.org").id()), None);
    assert_eq!(plan.size().names, 5);
}

#[test]
fn what_is_no_name_is_refused_with_what_to_write_instead() {
    for (text, why) in [
        ("", "is no DNS name"),
        (".", "is no DNS name"),
        ("*", "`any` is everybody"),
        ("*.", "`any` is everybody"),
        ("a..b", "is no DNS name"),
        ("a b", "is no DNS name"),
        ("https://a.b", "is no DNS name"),
        ("a.*.b", "elsewhere than as its first label"),
        ("a*.b", "elsewhere than as its first label"),
        ("*.*.b", "elsewhere than as its first label"),
        ("größe.example", "punycode"),
        ("203.0.113.7", "write `{cidr: \"203.0.113.7\"}`"),
        ("203.0.113.0/24", "write `{cidr: \"203.0.113.0/24\"}`"),
        ("2001:db8::1", "write `{cidr: \"2001:db8::1\"}`"),
        (&format!("{}.org", "a".repeat(64)), "have 1 to 63"),
        (&["a"; 128].join("."), "longer than 253"),
    ] {
        let told = NamePattern::try_from(text.to_owned()).unwrap_err();
        assert!(told.contains(why), "{text}: {told}");
    }
}
