//! The scene of the demo: a web shop, and somebody who has no business in it.

use cofferdam_tests::{Container, Docker, Options, connect_from, counts, edge, edges::Expected};

/// Its containers.
pub(crate) struct Shop {
    docker: Docker,
    web: Container,
    api: Container,
    db: Container,
    cache: Container,
    stats: Container,
    runner: Container,
}

impl Shop {
    /// Starts all containers.
    pub(crate) fn open(docker: &Docker) -> anyhow::Result<Self> {
        docker.network("demo-front", &[])?;
        docker.network("demo-back", &["--ipv6", "--subnet", "fd00:c0ff:d::/64"])?;
        docker.network("demo-ci", &[])?;
        let front = service("web").on("demo-front").with(&["--publish", "127.0.0.1::80"]).tcp("80");
        let shop = Self {
            docker: docker.clone(),
            web: docker.container("demo-web", &front)?,
            api: docker.container("demo-api", &service("api").on("demo-front").tcp("8080"))?,
            db: docker.container("demo-db", &service("db").on("demo-back").tcp("5432"))?,
            cache: docker.container("demo-cache", &service("cache").on("demo-back").tcp("6379"))?,
            stats: docker.container("demo-stats", &service("stats").on("demo-back").udp("8125"))?,
            runner: docker.container("demo-runner", &Options::new().on("demo-ci"))?,
        };
        docker.join("demo-back", &shop.api)?;
        Ok(shop)
    }

    /// Makes the traffic, and says what the map must show of it.
    pub(crate) fn trade(&self) -> anyhow::Result<Vec<Expected>> {
        let Self { docker, web, api, db, cache, stats, runner } = self;
        let (db4, db6) = (db.address("demo-back")?, db.address6("demo-back")?);
        let mut expected = Vec::new();

        let port = web.published(80)?;
        let done = connect_from(docker.node(), &format!("{port} --count 3 --send 200 --receive 15000"))?;
        expected.push(edge(&docker.workload()?, "demo/web", "tcp/80").counted(done));

        let done =
            web.connect(&format!("{}:8080 --count 6 --send 300 --receive 4000", api.address("demo-front")?))?;
        expected.push(edge("demo/web", "demo/api", "tcp/8080").counted(done));

        let done = api.connect(&format!("{db4}:5432,[{db6}]:5432 --count 8 --send 120 --receive 9000"))?;
        expected.push(edge("demo/api", "demo/db", "tcp/5432").counted(done));

        let cache = cache.address("demo-back")?;
        let done = api.connect(&format!("{cache}:6379 --count 12 --send 40 --receive 60 --parallel 4"))?;
        expected.push(edge("demo/api", "demo/cache", "tcp/6379").counted(done));

        let stats = stats.address("demo-back")?;
        let done = api.connect(&format!("{stats}:8125 --udp --count 10 --send 32 --receive 0"))?;
        expected.push(edge("demo/api", "demo/stats", "udp/8125").counted(done));

        // Gone before anybody could have looked at it.
        let program = ["traffic", "connect", &format!("{db4}:5432"), "--count", "2"];
        let done = counts(&docker.once("demo-migrate", &service("migrate").on("demo-back"), &program)?)?;
        expected.push(edge("demo/migrate", "demo/db", "tcp/5432").counted(done));

        // Docker keeps the networks apart; the attempt shows.
        runner.connect(&format!("{db4}:5432 --timeout 900"))?;
        expected.push(edge("demo-runner", "demo/db", "tcp/5432").refused(1));
        Ok(expected)
    }

    /// The containers' own names.
    pub(crate) fn names(&self) -> Vec<&str> {
        let Self { docker: _, web, api, db, cache, stats, runner } = self;
        let running = [web, api, db, cache, stats, runner].map(Container::name);
        running.into_iter().chain(["demo-migrate"]).collect()
    }
}

/// A service of the compose project `demo`.
fn service(name: &str) -> Options {
    let name = format!("com.docker.compose.service={name}");
    Options::new().with(&["--label", "com.docker.compose.project=demo", "--label", &name])
}
