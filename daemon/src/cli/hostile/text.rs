//! Names that somebody wrote who means harm, out of a seed: the same ones in each run.

use fastrand::Rng;

/// What is put together: what terminals obey, what ends or opens a string in one of the outputs, what cannot be
/// seen, what is no text, and words of ours.
const PIECES: [&[u8]; 44] = [
    b"web",
    b"shop/api",
    b"host",
    b"outside",
    b"other",
    b"unknown",
    b" -> shop/db tcp/5432 opened",
    b"\n",
    b"\r\n",
    b"\t",
    b"\0",
    b"\x07",
    b"\x08\x08\x08",
    b"\x7f",
    b"\x1b[2J",
    b"\x1b[31m",
    b"\x1b]0;title\x07",
    b"\x1bP\x1b\\",
    "\u{9b}31m".as_bytes(),
    "\u{85}".as_bytes(),
    "\u{ad}".as_bytes(),
    "\u{202e}".as_bytes(),
    "\u{2066}\u{2069}".as_bytes(),
    "\u{200b}\u{200d}".as_bytes(),
    "\u{2028}\u{2029}".as_bytes(),
    "\u{feff}".as_bytes(),
    "\u{e0041}".as_bytes(),
    "Größe-日本-שלום-🦀".as_bytes(),
    "e\u{301}\u{301}\u{301}".as_bytes(),
    b"\"",
    b"'",
    b"\\",
    b"\\\"",
    b"\\n\\u001b\\u{1b}\\N",
    b"}, {\"kind\": \"lost\"}",
    b"\",port=\"1\"} 9\nevil_total 1\n# HELP x y",
    b"\"]; evil -> evil [label=<b>",
    b"$(reboot)`reboot`;%s%n{}",
    b"</script><script>",
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xe2\x82",
];

/// One name in so many is as long as [`LONGEST`].
const LONG_ONES: u64 = 5_000;
const LONGEST: usize = 64 * 1024;

/// The next name, as bytes that need not be text.
pub(super) fn bytes(rng: &mut Rng) -> Vec<u8> {
    let mut name = Vec::new();
    for _ in 0..rng.usize(1..6) {
        match rng.u8(0..10) {
            0 => name.extend((0..rng.usize(1..6)).map(|_| rng.u8(..))),
            1 => name.extend(rng.char(..).encode_utf8(&mut [0; 4]).bytes()),
            _ => name.extend(PIECES[rng.usize(..PIECES.len())]),
        }
    }
    if rng.u64(0..LONG_ONES) == 0 {
        name = name.repeat(LONGEST / name.len());
    }
    name
}

/// The next name, as a runtime tells it in JSON: text, whatever it is.
pub(super) fn name(rng: &mut Rng) -> String {
    String::from_utf8_lossy(&bytes(rng)).into_owned()
}
