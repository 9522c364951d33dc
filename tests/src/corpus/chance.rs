//! Chance, the same for the same seed.

/// A source of chance.
pub(super) struct Chance {
    random: fastrand::Rng,
}

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed) }
    }

    /// Evenly between two numbers, without the second.
    pub(super) fn between(&mut self, from: i64, to: i64) -> i64 {
        if to <= from { from } else { self.random.i64(from..to) }
    }

    /// One of so many.
    pub(super) fn index(&mut self, count: usize) -> usize {
        if count == 0 { 0 } else { self.random.usize(0..count) }
    }

    pub(super) fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        if all.is_empty() { None } else { all.get(self.random.usize(0..all.len())) }
    }

    /// Whether it happens, which it does so often.
    pub(super) fn happens(&mut self, often: f64) -> bool {
        self.random.f64() < often
    }

    pub(super) fn even(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * self.random.f64()
    }

    /// Evenly between two numbers as far as their logarithms go.
    pub(super) fn scale(&mut self, from: f64, to: f64) -> f64 {
        self.even(from.ln(), to.ln()).exp()
    }

    /// Log-normal around a median.
    pub(super) fn normal(&mut self, median: f64, sigma: f64) -> f64 {
        let (a, b) = (1.0 - self.random.f64(), self.random.f64());
        let gauss = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
        median * (sigma * gauss).exp()
    }

    /// Pareto from a least: most near it, few far out, cut at ten thousand times it.
    pub(super) fn pareto(&mut self, least: f64, alpha: f64) -> f64 {
        let even = 1.0 - self.random.f64();
        (least / even.powf(1.0 / alpha)).min(least * 10_000.0)
    }

    pub(super) fn shuffle<T>(&mut self, all: &mut [T]) {
        self.random.shuffle(all);
    }

    /// Letters out of an alphabet.
    pub(super) fn word(&mut self, alphabet: &str, length: usize) -> String {
        let letters: Vec<char> = alphabet.chars().collect();
        (0..length).filter_map(|_| self.pick(&letters).copied()).collect()
    }

    pub(super) fn hex(&mut self, length: usize) -> String {
        self.word("0123456789abcdef", length)
    }
}
