//! What is told of those who talk to the outside.

use super::*;

#[test]
fn much_that_leaves_is_told_and_the_backup_of_each_night_is_not() {
    let mut watch = Watch::new();
    let (backup, store) = (container("backup", 1), outside("198.51.100.7", Some("s3.storage.example")));
    let night = Edge { bytes_sent: 5_000_000_000, ..edge(&backup, &store, 443, 1) };
    for _ in 0..14 {
        assert_eq!(watch.turn(DAY, std::slice::from_ref(&night)), []);
    }
    let web = edge(&container("web", 1), &store, 443, 1);
    for _ in 0..14 * 24 {
        assert_eq!(watch.turn(HOUR, std::slice::from_ref(&web)), []);
    }
    let told = watch.turn(HOUR, &[Edge { bytes_sent: 800_000_000, ..web }]);
    assert_eq!(
        lines(&told),
        [
            "open warning exfiltration #1: shop/web sent 800 MB to outside s3.storage.example (198.51.100.7) within an hour; 1023 B \
         are usual"
        ]
    );
}

#[test]
fn a_beacon_and_a_pool_are_told() {
    let mut watch = Watch::after(7);
    let (web, worker) = (container("web", 1), container("worker", 1));
    let (control, pool) = (outside("198.51.100.7", None), outside("192.0.2.4", Some("pool.example")));
    let mut told = watch.turn(10, &[edge(&worker, &pool, 3333, 1), edge(&web, &control, 443, 1)]);
    let alive = Edge { attempts: 0, flows: 0, ..edge(&worker, &pool, 3333, 1) };
    for minute in 1..90 {
        let beacon = (minute % 5 == 0).then(|| edge(&web, &control, 443, 1));
        let gained: Vec<_> = beacon.into_iter().chain([alive.clone()]).collect();
        told.extend(watch.turn(MINUTE, &gained));
    }
    let opened: Vec<_> = lines(&told).into_iter().filter(|line| line.contains("#1:")).collect();
    assert_eq!(
        opened,
        [
            "open warning new_destination #1: shop/web has never talked to outside 198.51.100.7 in 7 days; now tcp/443, once, from \
         the same image (sha256:0001…): likely a compromise",
            "open warning new_destination #1: shop/worker has never talked to outside pool.example (192.0.2.4) in 7 days; now \
         tcp/3333, once, from the same image (sha256:0001…): likely a compromise",
            "open critical beacon #1: shop/web connects to outside 198.51.100.7, which is new to it since 60 minutes, as regularly \
         as a clock: 13 times in 60 minutes, every 5 minutes, to within 0 seconds",
            "open critical long_lived #1: shop/worker has held a connection to outside pool.example (192.0.2.4), which is new to it \
         since 60 minutes, for 60 minutes",
        ]
    );
}

#[test]
fn a_tunnel_and_generated_names_are_told() {
    let mut watch = Watch::after(7);
    let data: Vec<_> = (0..60)
        .map(|n: u64| {
            (
                format!(
                    "{:016x}{:016x}.t.example.net",
                    n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
                    n.wrapping_mul(0xc2b2_ae3d_27d4_eb4f)
                ),
                "TXT",
            )
        })
        .collect();
    let mut told = watch.ask(10, &data, None);
    let made: Vec<_> = (0..30).map(|n| (format!("qx{n}vbnwert{n}.com"), "A")).collect();
    told.extend(watch.ask(10, &made, None));
    let opened: Vec<_> = lines(&told).into_iter().filter(|line| line.contains("#1:")).collect();
    assert_eq!(
        opened,
        [
            "open critical odd_dns #1: shop/web asked for 60 names below example.net within an hour, 34 letters long on average; 0 \
         are usual: data may leave in them",
            "open critical odd_dns #1: shop/web asked for 30 domains within an hour that there are not, and for 0 that there are; 0 \
         are usual: the names may be generated",
        ]
    );
}

#[test]
fn names_without_an_address_of_one_kind_are_none_that_are_missing() {
    let mut watch = Watch::after(7);
    let names = |kind| (0..60).map(move |n| (format!("somewhere{n}.com"), kind)).collect::<Vec<_>>();
    assert_eq!(watch.ask(10, &names("A"), Some("192.0.2.1")), []);
    assert_eq!(watch.ask(10, &names("AAAA"), None), []);
}
