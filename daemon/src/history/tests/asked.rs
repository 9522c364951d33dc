//! What is asked of it: pairs, who was called so, denials and events.

use super::*;

#[test]
fn of_a_pair_it_tells_since_it_was_seen_first() {
    let folder = Folder::new();
    let (mut store, _) = folder.open();
    let later = minutes_later(at(TEN), 24 * 60);
    store.write(&gained(5_432, 3, at(TEN))).unwrap();
    store.write(&gained(5_432, 4, later)).unwrap();
    let history = folder.history(&store);
    let of = |target: &str| history.totals("shop/web", target).unwrap();
    let totals = &of("shop/api")[0];
    assert_eq!((totals.protocol, totals.port), (Protocol::Tcp, 5_432));
    assert_eq!((totals.flows, totals.allowed, totals.denied), (7, 7, 0));
    assert_eq!((totals.first_seen, totals.last_seen), (at(TEN), later));
    assert_eq!(of("shop/db"), []);
    // The first day is not told of any more, that there was one is.
    store.prune(minutes_later(later, 29 * 24 * 60 + 60)).unwrap();
    assert_eq!(of("shop/api")[0].first_seen, at(TEN));
}

#[test]
fn who_was_called_so_is_told_by_each_name_and_nobody_else() {
    let folder = Folder::new();
    let (mut store, _) = folder.open();
    store.write(&gained(5_432, 3, at(TEN))).unwrap();
    let history = folder.history(&store);
    let web = edge().source;
    let id = web.id.as_deref().unwrap();
    for name in ["shop/web", web.container_name.as_deref().unwrap(), &id[..6], id] {
        assert_eq!(history.called(name).unwrap().iter().collect::<Vec<_>>(), [&*web], "{name}");
    }
    assert_eq!(history.called("shop").unwrap().len(), 2, "both are of that project");
    // Each stands in the text: a part of a name, a key, and what is no name.
    for name in ["shop/we", "kind", "\"", "", web.image.as_deref().unwrap()] {
        assert_eq!(history.called(name).unwrap(), [], "{name}");
    }
    assert!(History::default().called("shop/web").is_err());
}

#[test]
fn a_denial_is_found_by_its_id_as_it_was_told_last() {
    let folder = Folder::new();
    let (mut store, _) = folder.open();
    let mut batch = Batch::default();
    let later = Event { time: at("2026-11-24T11:00:00Z"), ..samples::denial() };
    for event in [later.clone(), samples::denial(), samples::alert()] {
        assert_eq!(batch.add_event(event), 0);
    }
    store.write(&batch).unwrap();
    let history = folder.history(&store);
    let EventKind::Denial(denial) = samples::denial().kind else { panic!("no denial") };
    assert_eq!(history.denial(&denial.id[..6]).unwrap(), Some(later));
    // Of a container, of an alert, and of nobody.
    for id in ["3f2a9c", "9f2c41", "000000"] {
        assert_eq!(history.denial(id).unwrap(), None, "{id}");
    }
}

#[test]
fn events_are_told_by_time_and_by_whom_they_are_about() {
    let folder = Folder::new();
    let (mut store, _) = folder.open();
    let mut batch = Batch::default();
    let later = Event { time: at("2026-11-24T11:00:00Z"), ..samples::alert() };
    for event in [samples::denial(), later.clone()] {
        assert_eq!(batch.add_event(event), 0);
    }
    store.write(&batch).unwrap();
    let history = folder.history(&store);
    let told = |until: &str, of: Option<&str>| {
        let filter = Filter { of: of.map(str::to_owned), ..Filter::default() };
        let lines = history.events(Timestamp::MIN, at(until), &filter).unwrap().lines;
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Event>>()
    };
    let (noon, half_past_ten) = ("2026-11-24T12:00:00Z", "2026-11-24T10:30:00Z");
    assert_eq!(told(noon, None), [samples::denial(), later.clone()]);
    assert_eq!(told(half_past_ten, None), [samples::denial()]);
    assert_eq!(told(noon, Some("shop/db")), [samples::denial(), later]);
    assert_eq!(told(noon, Some("shop/api")), []);
}
