//! The hooks at the root of the cgroup tree that judge: attached, pinned, and alone. Those among the security modules:
//! attached and pinned; nobody can detach them while this daemon has their links.

use anyhow::Context as _;
use cofferdam_query::attached;

use super::{
    super::{
        Sensor,
        attach::place,
        hooks::{HOOKS, Hook},
        kept, lock,
    },
    Finding, Order, What,
};

impl Sensor {
    /// Looks whether each hook that judges is attached and pinned, and whose programs are there beside ours. What is wrong
    /// with ours is mended. Nothing is looked at while nothing is judged.
    #[must_use]
    pub fn verify_hooks(&self) -> Vec<Finding> {
        let _switching = lock(&self.switching);
        if !self.stays() {
            return Vec::new();
        }
        let hooks = HOOKS.iter().filter(|hook| kept::stays(hook)).flat_map(|hook| self.verify_hook(hook));
        let foreign = self
            .kept
            .foreign()
            .map(|path| Finding::noted(What::Pin, format!("{path} is not ours, and is left where it is")));
        hooks.chain(foreign).collect()
    }

    fn verify_hook(&self, hook: &Hook) -> Vec<Finding> {
        let name = hook.name;
        let Some(program) = self.programs.get(name) else {
            // For whom something is open then, is told as partial.
            let refused =
                || Finding::open(What::Hook, format!("{name} is not attached: the kernel refused it"));
            return (!hook.attach.is_optional()).then(refused).into_iter().collect();
        };
        let (is_here, mut findings) = match place(hook) {
            None => (lock(&self.links).contains_key(name), Vec::new()),
            Some(place) => match attached(&self.root, place) {
                Ok(attached) => {
                    let order = Order::of(*program, &attached);
                    (order.is_here, order.foreign(name))
                }
                Err(error) => {
                    let text = format!("what is attached as {name} cannot be told: {error}");
                    return vec![Finding::open(What::Hook, text)];
                }
            },
        };
        if !is_here {
            let text = format!("{name} was not attached any more");
            findings.push(Finding::mended(What::Hook, 1, text, self.attach_again(hook)));
        } else if !lock(&self.links).get(name).is_some_and(|link| self.kept.holds(name, link)) {
            let text = format!("the pin of {name} was gone");
            findings.push(Finding::mended(What::Pin, 1, text, self.pin_again(hook)));
        }
        findings
    }

    /// The kernel attaches no program twice to a cgroup: should it be there after all, this fails.
    fn attach_again(&self, hook: &Hook) -> anyhow::Result<()> {
        drop(lock(&self.links).remove(hook.name));
        self.switch_on(hook)?;
        self.pin_again(hook)
    }

    /// Where something else is in the place of the pin, it goes.
    fn pin_again(&self, hook: &Hook) -> anyhow::Result<()> {
        self.kept.unpin(hook.name).context("the pin that is there")?;
        self.pin(hook)
    }
}
