//! Why the policies in force say what they say.

use std::collections::HashMap;

use super::InForce;
use crate::{
    attribution::Placed,
    event::Verdict,
    policy::{
        explain,
        explain::{End, Explanation},
    },
};

impl InForce {
    /// Why one may, or may not, interact with another, and that in words, with lines of the policies as they were when
    /// they were read; `None` while nothing is judged. `placed` is who lives here.
    #[must_use]
    pub fn explain(
        &self,
        source: End<'_>,
        target: End<'_>,
        protocol: u8,
        port: u16,
        placed: &[Placed],
    ) -> Option<(Explanation, String)> {
        let state = self.lock();
        let sync = state.sync.as_ref()?;
        // Under which names the source was told the address, as the kernel has it.
        let names = match (source, target) {
            (End::Workload(workload), End::Outside { address: Some(address), .. }) => {
                Some(sync.names_of(workload, address))
            }
            _ => None,
        };
        let target = match (target, &names) {
            (End::Outside { address, .. }, Some(names)) => End::Outside { address, names },
            _ => target,
        };
        let mut explanation = explain::explain(sync.plan()?, source, target, protocol, port);
        let files = state.content.iter().flat_map(|content| content.files.iter());
        let texts: HashMap<_, _> = files.map(|file| (&*file.path, file.text.as_str())).collect();
        let by_rules = explanation.text(&texts);
        let unknown = [source, target].into_iter().filter_map(|end| match end {
            End::Workload(workload) => sync.as_unknown(workload, placed),
            End::Outside { .. } => None,
        });
        let Some((verdict, why)) = unknown.max_by_key(|(verdict, _)| *verdict) else {
            return Some((explanation, by_rules));
        };
        if verdict != Verdict::Deny {
            // To others it is nobody, and of itself no rule counts.
            return Some((
                explanation,
                format!("{by_rules}  until    {why}: what it may then is not told here\n"),
            ));
        }
        explanation.verdict = verdict;
        let heading = explanation.heading();
        Some((explanation, format!("{heading}\n  because  {why}\nOnce that is known:\n{by_rules}")))
    }
}
