//! Programs for the kernel that are not Cofferdam's.

use anyhow::Context as _;
use object::{
    Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
    write::{Object, Symbol, SymbolSection},
};

/// `r0 = 1; exit`: each packet passes.
const PASS: [u8; 16] = [0xb7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];

/// An object file with a program at `cgroup_skb/egress` that lets everything pass, for `bpftool prog load`.
///
/// # Errors
/// None that is known.
pub fn passes_all(name: &str) -> anyhow::Result<Vec<u8>> {
    object("cgroup_skb/egress", name, &PASS)
}

/// An object file with a program for a link that hands all that comes to another one, and asks nobody.
///
/// # Errors
/// None that is known.
pub fn passes_on(name: &str, index: u32) -> anyhow::Result<Vec<u8>> {
    // `r1 = index; r2 = 0; call bpf_redirect; exit`.
    let mut code = vec![0xb7, 1, 0, 0];
    code.extend(index.to_le_bytes());
    code.extend([0xb7, 2, 0, 0, 0, 0, 0, 0, 0x85, 0, 0, 0, 23, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]);
    object("classifier", name, &code)
}

/// An object file with a program for a link that lets everything pass, and has nobody asked after it.
///
/// # Errors
/// None that is known.
pub fn passes_at_link(name: &str) -> anyhow::Result<Vec<u8>> {
    // `r0 = 0; exit` (TCX_PASS).
    object("classifier", name, &[0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])
}

/// An object file with one program.
fn object(section: &str, name: &str, instructions: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let code = object.add_section(Vec::new(), section.as_bytes().to_vec(), SectionKind::Text);
    object.append_section_data(code, instructions, 8);
    let license = object.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    object.append_section_data(license, b"GPL\0", 1);
    object.add_symbol(Symbol {
        name: name.as_bytes().to_vec(),
        value: 0,
        size: instructions.len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(code),
        flags: SymbolFlags::None,
    });
    object.write().context("cannot write an object file")
}
