//! Tries whole matrices: all cells of a scene at once.
//!
//! The oracle is the number that has arrived at the server. What must not arrive had a way: the same cells have passed under
//! a policy that is open. What comes too late is noticed in the next scene, as no number is used twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    net::SocketAddr,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use cofferdam::event::Verdict;

use super::{
    actor::{Actor, Ask, Try},
    cast::Member,
    cells::Cell,
    places::Places,
    protocol::{ICMP, TCP},
    text::Scene,
};
use crate::long::is_long;

/// Milliseconds that what shall not arrive gets when all else is done.
const PATIENCE: u64 = 300;
/// Milliseconds without an answer after which what shall pass is given up, and how often it is tried again.
const SILENCE: u64 = 500;
/// Of how many cells that are allowed one is tried where not all are. Not a multiple of how many services most scenes try,
/// so that each scene tries all of them.
const PART: usize = 11;
const AGAIN: usize = 8;

/// How a matrix is tried.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Milliseconds without an answer after which what shall pass is given up.
    silence: u64,
    /// Of as many cells that are allowed one is tried, in each scene another one. All that are denied are tried.
    one_of: usize,
}

impl Pace {
    /// All cells.
    pub const WHOLE: Self = Self { silence: SILENCE, one_of: 1 };

    /// A part, for what is tried as a whole elsewhere, unless all that can be done is asked for. In an emulated machine all
    /// takes longer.
    #[must_use]
    pub fn in_part() -> Self {
        let silence = if env::var_os("COFFERDAM_TEST_VM").is_some() { 2 * SILENCE } else { SILENCE };
        Self { silence, one_of: if is_long() { 1 } else { PART } }
    }
}

/// All who play, ready to act.
#[derive(Debug)]
pub struct Matrix {
    /// By name.
    pub actors: BTreeMap<&'static str, Actor>,
    /// Where they are.
    pub places: Places,
    /// The number of the last attempt.
    last: u64,
    /// Numbers that must never arrive.
    denied: BTreeSet<u64>,
    /// Cells that are known to have a way.
    open: BTreeSet<(String, SocketAddr)>,
    /// Who was started anew, and may have other addresses than were tried then.
    moved: BTreeSet<&'static str>,
    pace: Pace,
    /// How many scenes were played.
    played: usize,
}

/// Where scenes are played.
pub trait Stage {
    /// Those who play.
    fn matrix(&mut self) -> &mut Matrix;

    /// Has the policies of a scene in force, and no others.
    ///
    /// # Errors
    /// They are not.
    fn enforce(&mut self, scene: &Scene) -> Result<()>;

    /// Ends one who plays, and starts him anew.
    ///
    /// # Errors
    /// He does not act.
    fn start_anew(&mut self, member: &'static Member) -> Result<()>;
}

/// Plays all scenes, one after the other. How many cells each had and how long it took is told as it goes.
///
/// # Errors
/// What is not as it is written.
pub fn play(stage: &mut impl Stage, scenes: &[Scene], tell: impl Fn(&str)) -> Result<()> {
    let begun = Instant::now();
    stage.enforce(&Scene::open())?;
    stage.matrix().open(scenes)?;
    tell(&format!("all ways are open: {:.1?}", begun.elapsed()));
    let (mut cells, mut wrong) = (0, Vec::new());
    for scene in scenes {
        let at = Instant::now();
        stage.enforce(scene)?;
        for member in &scene.starts {
            stage.start_anew(member)?;
            stage.matrix().moved.insert(member.name);
        }
        let outcome = stage.matrix().play(scene)?;
        cells += outcome.cells;
        tell(&format!("{:>6} cells in {:>5.1?}: {}", outcome.cells, at.elapsed(), scene.name));
        wrong.extend(outcome.wrong.into_iter().map(|line| format!("{}: {line}", scene.name)));
    }
    tell(&format!("{} scenes, {cells} cells in {:.0?}", scenes.len(), begun.elapsed()));
    ensure!(wrong.is_empty(), "{} attempts came out wrong:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

/// What came of a scene.
struct Outcome {
    /// How many cells there were: each by IPv4 and IPv6 where there is a way by both.
    cells: usize,
    /// What was not as it is written.
    wrong: Vec<String>,
}

/// One attempt at a cell.
struct Attempt {
    cell: Cell,
    what: Try,
    verdict: Verdict,
}

/// What came of all attempts.
#[derive(Default)]
struct Round {
    answered: BTreeSet<u64>,
    arrived: BTreeSet<u64>,
}

impl Matrix {
    /// Nobody is there yet.
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        Self {
            actors: BTreeMap::new(),
            places: Places::default(),
            last: 0,
            denied: BTreeSet::new(),
            open: BTreeSet::new(),
            moved: BTreeSet::new(),
            pace,
            played: 0,
        }
    }

    /// Shows that there is a way for each cell of these scenes, while all of them are allowed.
    fn open(&mut self, scenes: &[Scene]) -> Result<()> {
        let mut cells: BTreeMap<String, Cell> = BTreeMap::new();
        for scene in scenes {
            cells.extend(scene.matrix()?.into_iter().map(|(cell, _)| (cell.to_string(), cell)));
        }
        let attempts = self.attempts(cells.into_values().map(|cell| (cell, Verdict::Allow)));
        let wrong = self.play_all(&attempts)?;
        ensure!(wrong.is_empty(), "there is no way:\n{}", wrong.join("\n"));
        self.open = attempts.iter().map(|attempt| (attempt.cell.to_string(), attempt.what.to)).collect();
        Ok(())
    }

    /// Tries all cells of a scene whose policies are in force.
    fn play(&mut self, scene: &Scene) -> Result<Outcome> {
        self.played += 1;
        let (played, one_of) = (self.played, self.pace.one_of);
        let cells = scene.matrix()?.into_iter().enumerate().filter(|(number, (_, verdict))| {
            *verdict == Verdict::Deny || (number + played).is_multiple_of(one_of)
        });
        let attempts = self.attempts(cells.map(|(_, cell)| cell));
        for Attempt { cell, what, verdict } in &attempts {
            let known = *verdict != Verdict::Deny || self.open.contains(&(cell.to_string(), what.to));
            ensure!(known || self.moved.contains(cell.target.name), "{cell} was not shown open");
        }
        let wrong = self.play_all(&attempts)?;
        let cells: BTreeSet<_> =
            attempts.iter().map(|it| (it.cell.to_string(), it.what.to.is_ipv4())).collect();
        Ok(Outcome { cells: cells.len(), wrong })
    }

    /// Each cell by all its ways, and datagrams by sockets that are connected and by such that are not.
    fn attempts(&mut self, cells: impl Iterator<Item = (Cell, Verdict)>) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        for (cell, verdict) in cells {
            for to in self.places.ways(&cell) {
                let protocol = cell.service.protocol;
                let both: &[bool] = if matches!(protocol, TCP | ICMP) { &[false] } else { &[false, true] };
                for connected in both {
                    self.last += 1;
                    let awaited = verdict != Verdict::Deny;
                    let what = Try { number: self.last, to, protocol, connected: *connected, awaited };
                    attempts.push(Attempt { cell, what, verdict });
                }
            }
        }
        attempts
    }

    fn play_all(&mut self, attempts: &[Attempt]) -> Result<Vec<String>> {
        let mut round = self.round(attempts.iter())?;
        for _ in 0..AGAIN {
            let again: Vec<_> = attempts
                .iter()
                .filter(|it| it.verdict != Verdict::Deny && !round.answered.contains(&it.what.number))
                .collect();
            if again.is_empty() {
                break;
            }
            let more = self.round(again.into_iter())?;
            round.answered.extend(more.answered);
            round.arrived.extend(more.arrived);
        }
        let late = round.arrived.intersection(&self.denied);
        let mut wrong: Vec<_> =
            late.map(|number| format!("number {number} arrived after its time")).collect();
        let denied = attempts.iter().filter(|it| it.verdict == Verdict::Deny);
        self.denied.extend(denied.map(|it| it.what.number));
        for Attempt { cell, what, verdict } in attempts {
            let arrived = match cell.service.protocol {
                // The kernel is the server.
                ICMP => round.answered.contains(&what.number),
                _ => round.arrived.contains(&what.number),
            };
            let answered = round.answered.contains(&what.number);
            if (arrived, answered) != (*verdict != Verdict::Deny, *verdict != Verdict::Deny) {
                let connected = if what.connected { ", connected" } else { "" };
                wrong.push(format!(
                    "{cell} ({}{connected}) is to be {verdict}; arrived: {arrived}, answered: {answered}",
                    what.to
                ));
            }
        }
        Ok(wrong)
    }

    /// Has all of them tried at once.
    fn round<'a>(&mut self, attempts: impl Iterator<Item = &'a Attempt>) -> Result<Round> {
        let mut tries: BTreeMap<&str, Vec<Try>> = BTreeMap::new();
        for attempt in attempts {
            tries.entry(attempt.cell.source.name).or_default().push(attempt.what);
        }
        let acting: Vec<_> = tries.keys().copied().collect();
        let silence = self.pace.silence;
        for (name, tries) in tries {
            self.actor(name)?.ask(&Ask::Try { tries, silence, patience: PATIENCE })?;
        }
        let mut round = Round::default();
        for name in acting {
            round.answered.extend(self.actor(name)?.answer().with_context(|| name.to_owned())?);
        }
        for (name, actor) in &mut self.actors {
            actor.ask(&Ask::Arrived)?;
            round.arrived.extend(actor.answer().with_context(|| (*name).to_owned())?);
        }
        Ok(round)
    }

    fn actor(&mut self, name: &str) -> Result<&mut Actor> {
        self.actors.get_mut(name).with_context(|| format!("{name} does not act"))
    }
}
