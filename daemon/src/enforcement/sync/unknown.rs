//! Of whom it is not known who he is: what holds for him whatever rules say.

use super::{Standing, Sync};
use crate::{
    attribution::Placed,
    event::{Verdict, Workload},
    policy::{NeverTold, Unresolved},
};

impl Sync {
    /// What holds for a workload whatever rules say, since nobody has told who that is, and that in words; `None` where rules
    /// decide.
    #[must_use]
    pub fn as_unknown(&self, workload: &Workload, placed: &[Placed]) -> Option<(Verdict, String)> {
        self.plan.as_ref()?;
        let placed = placed.iter().find(|placed| *placed.workload == *workload)?;
        match self.standing(placed, &self.settings) {
            Standing::Known => None,
            Standing::Unresolved => {
                let (verdict, word) = match self.settings.unresolved {
                    Unresolved::Allow => (Verdict::Allow, "allow"),
                    Unresolved::Audit => (Verdict::Audit, "audit"),
                    Unresolved::Deny => (Verdict::Deny, "deny"),
                    Unresolved::Hold => (Verdict::Deny, "hold"),
                };
                let why = format!("it is not known yet who {workload} is (policies.unresolved: {word})");
                Some((verdict, why))
            }
            Standing::NeverTold => {
                let (verdict, word) = match self.settings.never_told {
                    NeverTold::Judge => return None,
                    NeverTold::Allow => (Verdict::Allow, "allow"),
                    NeverTold::Audit => (Verdict::Audit, "audit"),
                    NeverTold::Deny => (Verdict::Deny, "deny"),
                };
                let why = format!("no runtime has told who {workload} is (policies.never_told: {word})");
                Some((verdict, why))
            }
        }
    }
}
