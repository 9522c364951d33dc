//! What follows no link: the crawler, and people.

use cofferdam::event::Workload;
use std::sync::Arc;

use super::{
    chance::Chance,
    host::{Flow, Gained, Host, Outside, Role, answer, answers, edge},
    layout::{domain, network},
};

impl Host {
    /// The crawler goes where nobody was, and asks for domains that are no more.
    pub(super) fn wander(&self, chance: &mut Chance, minute: i64, gained: &mut Gained) {
        let crawlers = self.services.iter().filter(|service| service.role == Role::Crawler);
        for crawler in crawlers {
            let Some(source) = crawler.replicas.first() else { continue };
            if !chance.happens(0.2) {
                continue;
            }
            let name = format!("www.{}", domain(chance));
            if chance.happens(0.1) {
                gained.answers.push(answer(source, &name, "A", None));
                continue;
            }
            let site = Outside { names: vec![name.clone()], networks: vec![network(chance)] };
            let target = site.workload(chance);
            answers(source, &name, &target.name, gained);
            let received = chance.pareto(20_000.0, 1.2) as u64;
            let flow = Flow { attempts: 2, opened: 2, denied: 0, sent: 2_000, received };
            gained.edges.push(edge(Arc::clone(source), target, 443, minute, &flow));
        }
    }

    /// Somebody looks something up by hand.
    pub(super) fn by_hand(
        &self,
        chance: &mut Chance,
        source: &Arc<Workload>,
        target: usize,
        port: u16,
        minute: i64,
        gained: &mut Gained,
    ) {
        let Some(target) = chance.pick(&self.services[target].replicas).cloned() else { return };
        let flow = Flow { attempts: 1, opened: 1, denied: 0, sent: 900, received: 40_000 };
        gained.edges.push(edge(Arc::clone(source), target, port, minute, &flow));
    }
}
