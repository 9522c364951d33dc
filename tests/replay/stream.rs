//! `cofferdam events` in front of a daemon that sends what it should not.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixListener,
    path::PathBuf,
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use cofferdam_tests::built;

const EVENT: &str = r#"{"schema_version":1,"seq":2,"time":"2026-11-24T10:00:00Z","message":"17 records of family network were lost","kind":"lost","family":"network","records":17}"#;

/// Runs the client against a daemon that sends `body` and goes away.
fn events(arguments: &[&str], body: &[u8]) -> Output {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let directory: PathBuf =
        env::temp_dir().join(format!("cofferdam-stream-{}-{number}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory");
    let listener = UnixListener::bind(directory.join("cofferdam.sock")).expect("it binds");
    let output = thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().expect("the client comes");
            let _ = stream.read(&mut [0; 4096]).expect("it asks");
            // The client may have had enough before the end.
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").and_then(|()| stream.write_all(body));
        });
        let mut command = Command::new(built("cofferdam").expect("it is built"));
        command.arg("events").args(arguments).env("COFFERDAM_RUN_DIR", &directory).output().expect("it runs")
    });
    let _ = fs::remove_dir_all(&directory);
    output
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn json_is_passed_on_byte_by_byte_until_the_daemon_leaves() {
    // More than one read of the socket, and fields of a version to come.
    let later = EVENT.replace("}", ",\"later\":{\"a\":[1]}}");
    let body = format!("{EVENT}\n{later}\n").repeat(2_000);
    let output = events(&["--json"], format!("{body}{{\"schema_version\":1,\"cut").as_bytes());
    assert!(output.stdout == body.as_bytes(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("went away"), "{}", said(&output));
}

#[test]
fn what_a_terminal_would_obey_becomes_escapes_and_stays_the_same_json() {
    let hostile = EVENT.replace("17 records", "\u{202e}17 rec\u{9b}ords");
    for arguments in [&["--json"][..], &["--json", "--count", "3"]] {
        let output = events(arguments, format!("{EVENT}\n{hostile}\n").as_bytes());
        let text = String::from_utf8(output.stdout.clone()).expect("text");
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [EVENT, &hostile.replace('\u{202e}', r"\u202e").replace('\u{9b}', r"\u009b")]
        );
    }
}

#[test]
fn what_is_no_event_is_a_clear_error_and_reaches_no_terminal() {
    for (body, expected) in [
        (&b"SSH-2.0-OpenSSH\x1b[2J\n"[..], "not understood"),
        (b"{\"schema_version\":1,\"seq\":2\n", "not understood"),
        (b"{\"schema_version\":1,\"a\":\"\xff\xfe\"}\n", "not understood"),
        (b"\n", "not understood"),
        (&vec![b'a'; 2 << 20], "a line of more than"),
    ] {
        for arguments in [&["--json"][..], &["--json", "--count", "1"], &[]] {
            let output = events(arguments, body);
            assert_eq!(output.status.code(), Some(1), "{}", said(&output));
            assert!(said(&output).contains(expected), "{}", said(&output));
            assert!(output.stdout.is_empty());
        }
    }
}
