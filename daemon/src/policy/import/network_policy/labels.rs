//! Selectors of labels -> sets of labels that our selectors can ask for.

use std::collections::{BTreeMap, BTreeSet};

use serde_saphyr::Spanned;

use super::{
    Reader,
    form::{Expression, LabelSelector, Operator},
};

/// Labels that must all be there, with these values. `*` is any.
pub(super) type Labels = BTreeMap<String, String>;

/// Any value.
pub(super) const ANY: &str = "*";
/// Most sets that a selector may become: one list of peers has as many.
const SETS_LIMIT: usize = 1_024;
/// Longest value of a label, in bytes.
const VALUE_LIMIT: usize = 63;
/// Longest key that is kept of a container.
const KEY_LIMIT: usize = 256;
/// The only label of a namespace that is known here: its name.
const NAME_OF_NAMESPACE: &str = "kubernetes.io/metadata.name";

impl Reader<'_, '_> {
    /// The sets of labels of which one must be there. None where that cannot be told, which is said.
    pub(super) fn labels(
        &mut self,
        selector: &Spanned<LabelSelector>,
        key: &str,
    ) -> Option<BTreeSet<Labels>> {
        let LabelSelector { match_labels, match_expressions } = &selector.value;
        let mut told = true;
        let mut base = Labels::new();
        for (label, value) in match_labels.iter().flatten() {
            let key = format!("{key}.matchLabels.{label}");
            told &= self.can_tell(label, value, Some(&value.value), &key);
            base.insert(label.clone(), value.value.clone());
        }
        let mut sets = BTreeSet::from([base]);
        for (number, expression) in match_expressions.iter().flatten().enumerate() {
            let key = format!("{key}.matchExpressions[{number}]");
            match self.choices(expression, &key) {
                Some(choices) => sets = product(&sets, &expression.value.key, &choices),
                None => told = false,
            }
            if sets.len() > SETS_LIMIT {
                let message = format!("becomes more than {SETS_LIMIT} selectors");
                self.missing(expression, &key, &message);
                return None;
            }
        }
        told.then_some(sets)
    }

    /// The namespaces of which it must be one, by name. None where that cannot be told, which is said.
    pub(super) fn namespaces(
        &mut self,
        selector: &Spanned<LabelSelector>,
        key: &str,
    ) -> Option<BTreeSet<String>> {
        let LabelSelector { match_labels, match_expressions } = &selector.value;
        let message = format!(
            "labels of namespaces are not known here: only `{NAME_OF_NAMESPACE}`, and `{{}}` for all of them"
        );
        let mut told = true;
        for (label, value) in match_labels.iter().flatten().filter(|(label, _)| *label != NAME_OF_NAMESPACE) {
            self.missing(value, &format!("{key}.matchLabels.{label}"), &message);
            told = false;
        }
        for (number, expression) in match_expressions.iter().flatten().enumerate() {
            if expression.value.key != NAME_OF_NAMESPACE {
                self.missing(expression, &format!("{key}.matchExpressions[{number}]"), &message);
                told = false;
            }
        }
        let sets = if told { self.labels(selector, key)? } else { return None };
        Some(
            sets.into_iter().map(|mut set| set.remove(NAME_OF_NAMESPACE).unwrap_or(ANY.to_owned())).collect(),
        )
    }

    /// The values of which a label must have one.
    fn choices(&mut self, expression: &Spanned<Expression>, key: &str) -> Option<BTreeSet<String>> {
        let Expression { key: label, operator, values } = &expression.value;
        let values = values.as_deref().unwrap_or_default();
        let refusal = match operator {
            Operator::Exists if values.is_empty() => {
                return self.can_tell(label, expression, None, key).then(|| [ANY.to_owned()].into());
            }
            Operator::In if !values.is_empty() => {
                let key = format!("{key}.values");
                // Each that cannot be told is said.
                let untold = values
                    .iter()
                    .filter(|value| !self.can_tell(label, *value, Some(&value.value), &key))
                    .count();
                return (untold == 0).then(|| values.iter().map(|value| value.value.clone()).collect());
            }
            Operator::In => "`In` needs `values`",
            Operator::Exists => "`Exists` has no `values`",
            Operator::NotIn => "a policy cannot say `NotIn`: selectors ask for what is there",
            Operator::DoesNotExist => "a policy cannot say `DoesNotExist`: selectors ask for what is there",
        };
        self.missing(expression, key, refusal);
        None
    }

    /// Whether our selectors can ask for a value of a label, or for any.
    fn can_tell<T>(&mut self, label: &str, at: &Spanned<T>, value: Option<&str>, key: &str) -> bool {
        let plain = |text: &str, more: &[u8]| {
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
        };
        let refusal = if label.is_empty() || label.len() > KEY_LIMIT || !plain(label, b"-_./") {
            "is no label that is kept of a container"
        } else if value == Some("") {
            "a policy cannot ask for a label without a value"
        } else if value.is_some_and(|value| value.len() > VALUE_LIMIT || !plain(value, b"-_.")) {
            "is no value that a label can have"
        } else {
            return true;
        };
        self.missing(at, key, refusal);
        false
    }
}

/// Those of the sets in which the label has one of these values, or can have it.
fn product(sets: &BTreeSet<Labels>, label: &str, choices: &BTreeSet<String>) -> BTreeSet<Labels> {
    let with = |set: &Labels, choice: &String| {
        let value = match set.get(label) {
            Some(own) if own == ANY => choice,
            Some(own) if own == choice || choice == ANY => own,
            Some(_) => return None,
            None => choice,
        };
        let mut set = set.clone();
        set.insert(label.to_owned(), value.clone());
        Some(set)
    };
    // Each comes once, so that no more than one too many is needed.
    sets.iter()
        .flat_map(|set| choices.iter().filter_map(|choice| with(set, choice)))
        .take(SETS_LIMIT + 1)
        .collect()
}
