//! Why the policies in force say what they say.

use std::collections::HashMap;

use super::InForce;
use crate::policy::{
    explain,
    explain::{End, Explanation},
};

impl InForce {
    /// Why one may, or may not, interact with another, and that in words, with lines of the policies as they were when
    /// they were read; `None` while nothing is judged.
    #[must_use]
    pub fn explain(
        &self,
        source: End<'_>,
        target: End<'_>,
        protocol: u8,
        port: u16,
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
        let explanation = explain::explain(sync.plan()?, source, target, protocol, port);
        let files = state.content.iter().flat_map(|content| content.files.iter());
        let texts: HashMap<_, _> = files.map(|file| (&*file.path, file.text.as_str())).collect();
        let text = explanation.text(&texts);
        Some((explanation, text))
    }
}
