//! Which addresses a workload was told for a name that policies speak of. Read out of the answer before the workload has
//! it, so that no packet comes too early.
//!
//! Only answers of a resolver that is the workload's, as `dns` finds out, come here. What cannot be read here (records
//! beyond [`RECORDS_LIMIT`], an answer that came while another was being read) the daemon adds a little later.
//!
//! Fail direction: deny, an address that is not learned has no name.

use core::{
    arch::asm,
    ptr::{self, addr_of, addr_of_mut},
};

use aya_ebpf::{
    bindings::{__sk_buff, BPF_NOEXIST},
    helpers::generated::bpf_skb_load_bytes,
    maps::lpm_trie::Key,
    programs::SkBuffContext,
};
use cofferdam_common::{
    ids::{Address, CgroupId},
    name::{
        HELD_LIMIT, Held, NAME_END, NAME_LIMIT, NAMED_OF_ONE_LIMIT, Named, NamedKey, PatternId, PatternKey,
        can_be_told, valid_for,
    },
    stats::failure,
};

use crate::{
    atomic::compare_exchange,
    dns::Head,
    emit::{count_failure, monotonic_time},
    maps::{ANSWER, NAMED, NAMED_COUNTS, PATTERNS},
    packet::Packet,
    policy::generation,
};

/// Most records of an answer that are read.
const RECORDS_LIMIT: u16 = 32;
/// Most labels of a name (RFC 1035 section 2.3.4).
const LABELS_LIMIT: usize = 127;
/// Bytes of a label that is none, but points at one (RFC 1035 section 4.1.4).
const POINTER: u8 = 0xc0;
/// Longest label.
const LABEL_LIMIT: u8 = 63;
/// Type and class of a question.
const QUESTION: u32 = 4;

const IN: u16 = 1_u16.to_be();
const A: u16 = 1_u16.to_be();
const AAAA: u16 = 28_u16.to_be();

/// What is at hand while an answer is read: too much for the stack.
#[repr(C)]
pub(crate) struct Answer {
    /// 1 while an answer is read: another hook may interrupt this one on the same CPU.
    busy: u64,
    key: Key<PatternKey>,
    /// The name that was asked for, as it is on the wire.
    name: [u8; 256],
    /// Under which pattern that is.
    pattern: PatternId,
    /// What is learned.
    found: NamedKey,
    /// Until when it is valid; 0 where a record has no address.
    valid_until: u64,
    /// An entry of its own for it.
    entry: Named,
}

/// The head of a record behind its name (RFC 1035 section 4.1.3), in network order.
#[repr(C, packed(2))]
#[derive(Clone, Copy)]
struct Record {
    kind: u16,
    class: u16,
    ttl: u32,
    length: u16,
}

/// Reads an answer, for the workload whose identity is `owner`'s.
#[inline(always)]
pub(crate) fn learn(context: &SkBuffContext, packet: &Packet, owner: CgroupId) {
    if generation() != 0 {
        learn_answer(context.skb.skb, context.len().saturating_sub(packet.payload as u32), owner.0);
    }
}

/// [`learn`]. Global, as all below, so that the verifier looks at each once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn learn_answer(context: *mut __sk_buff, start: u32, owner: u64) -> u32 {
    let packet = SkBuffContext::new(context);
    let Ok(head) = packet.load::<Head>(start as usize) else { return 0 };
    let Some(answer) = ANSWER.get_ptr_mut(0) else { return 0 };
    // SAFETY: this CPU's own value, which nobody else changes while it is busy; programs do not move to another CPU.
    let busy = unsafe { &mut (*answer).busy };
    if compare_exchange(busy, 0, 1) != 0 {
        count_failure(failure::NAMES_BUSY);
        return 0;
    }
    // SAFETY: as above.
    unsafe { (*answer).found.owner = CgroupId(owner) };
    let question = start + size_of::<Head>() as u32;
    let length = read_name(context, question);
    if length != 0 && is_spoken_of(length) != 0 {
        read_records(context, question + length + 1 + QUESTION, u16::from_be(head.answers).into());
    }
    // SAFETY: as above; volatile, so that nothing of what was done moves behind it.
    unsafe { ptr::write_volatile(addr_of_mut!((*answer).busy), 0) };
    0
}

/// Reads the name at `at`. Returns its length without the root's byte; 0 for the root, and for what cannot be read.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read_name(context: *mut __sk_buff, at: u32) -> u32 {
    let Some(answer) = ANSWER.get_ptr_mut(0) else { return 0 };
    // SAFETY: the verifier has checked the context for null. `length` is at most as long as `name`.
    unsafe {
        let mut length = u64::from((*context).len).saturating_sub(u64::from(at));
        // The compiler forgets what it knows of the number, and compares it where older verifiers have to see it: as in
        // `dns::load`, but with an instruction, for two lines at one place are too many for the kernel.
        asm!("{0} &= 0x7fffffff", inout(reg) length, options(nostack));
        if length > 255 {
            length = 255;
        }
        // The root alone is one byte. Older verifiers learn nothing from a comparison with zero.
        if length < 2 {
            return 0;
        }
        let name = addr_of_mut!((*answer).name);
        if bpf_skb_load_bytes(context.cast(), at, name.cast(), length as u32) != 0 {
            return 0;
        }
    }
    let mut length = 0;
    for _ in 0..LABELS_LIMIT {
        // SAFETY: `length & 0xff` lies within.
        let label = unsafe { *addr_of!((*answer).name).cast::<u8>().add(length & 0xff) };
        if label == 0 {
            return length as u32;
        }
        length += usize::from(label) + 1;
        if label > LABEL_LIMIT || length > NAME_LIMIT {
            return 0;
        }
    }
    0
}

/// Looks up the pattern of the name that was read, which has so many bytes. Returns 1 if rules speak of it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_spoken_of(length: u32) -> u32 {
    let Some(answer) = ANSWER.get_ptr_mut(0) else { return 0 };
    let length = length as usize;
    if length > NAME_LIMIT {
        return 0;
    }
    // SAFETY: this CPU's own value; all places lie within: those of `name` by the mask, those of the key by the loop's bound
    // and by the comparison above.
    unsafe {
        let (name, key) = (addr_of!((*answer).name).cast::<u8>(), addr_of_mut!((*answer).key));
        let back_to_front = addr_of_mut!((*key).data.name).cast::<u8>();
        // Also what lies behind the name, which does not count: so all ways through the loop are one.
        for place in 0..NAME_LIMIT {
            let byte = *name.add(length.wrapping_sub(1 + place) & 0xff);
            back_to_front.add(place).write(lower(byte));
        }
        back_to_front.add(length).write(NAME_END);
        (*key).data.slot = (generation() & 1) as u8;
        (*key).prefix_len = PatternKey::bits(length + 1);
        let Some(pattern) = PATTERNS.get(&*key) else { return 0 };
        (*answer).pattern = *pattern;
        u32::from(*pattern != PatternId::NONE)
    }
}

/// Without a branch, of which the verifier would follow both ways.
#[inline(always)]
fn lower(byte: u8) -> u8 {
    let from_a = u64::from(byte.wrapping_sub(b'A'));
    let is_upper = (from_a.wrapping_sub(26) >> 63) as u8;
    byte + (is_upper << 5)
}

/// Takes the addresses out of so many records at `at`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read_records(context: *mut __sk_buff, at: u32, answers: u32) -> u32 {
    let mut at = at;
    for number in 0..u32::from(RECORDS_LIMIT) {
        if number >= answers {
            return 0;
        }
        // One after the other, and not one in the other: the stack is small.
        at = skip_name(context, at);
        if at != 0 {
            at = read_record(context, at);
        }
        if at == 0 {
            break;
        }
        hold();
    }
    count_failure(failure::NAMES_UNREAD);
    0
}

/// Takes the address out of the record whose name ends at `at`, if it has one. Returns where the next one is; 0 where that
/// cannot be told.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read_record(context: *mut __sk_buff, at: u32) -> u32 {
    let Some(answer) = ANSWER.get_ptr_mut(0) else { return 0 };
    let packet = SkBuffContext::new(context);
    let Ok(record) = packet.load::<Record>(at as usize) else { return 0 };
    let data = at + size_of::<Record>() as u32;
    let length = u16::from_be(record.length);
    let address = match (record.kind, length) {
        (A, 4) => packet.load::<u32>(data as usize).ok().map(Address::mapped),
        (AAAA, 16) => packet.load::<[u32; 4]>(data as usize).ok().map(Address::from_words),
        _ => None,
    };
    let mut valid_until = 0;
    if record.class == IN
        && let Some(address) = address
        && can_be_told(&address)
    {
        // SAFETY: this CPU's own value.
        unsafe { (*answer).found.address = address };
        valid_until = monotonic_time() + valid_for(u32::from_be(record.ttl));
    }
    // SAFETY: as above.
    unsafe { (*answer).valid_until = valid_until };
    data + u32::from(length)
}

/// Where what comes behind the name at `at` is; 0 where that cannot be told.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn skip_name(context: *mut __sk_buff, at: u32) -> u32 {
    let (packet, mut at) = (SkBuffContext::new(context), at);
    for _ in 0..=LABELS_LIMIT {
        let Ok(label) = packet.load::<u8>(at as usize) else { return 0 };
        if label >= POINTER {
            return at + 2;
        }
        if label > LABEL_LIMIT {
            return 0;
        }
        at += u32::from(label) + 1;
        if label == 0 {
            return at;
        }
    }
    0
}

/// The address that was found, if one was, is known under the pattern that was found.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn hold() -> u32 {
    let Some(answer) = ANSWER.get_ptr_mut(0) else { return 0 };
    // SAFETY: this CPU's own value, borrowed by nobody else while it is busy.
    let answer = unsafe { &mut *answer };
    let new = Held { pattern: answer.pattern, valid_until: answer.valid_until };
    if new.valid_until == 0 {
        return 0;
    }
    if let Some(named) = NAMED.get_ptr_mut(&answer.found) {
        // SAFETY: the entry stays valid until the program ends (RCU). Two CPUs that write to it at once may lose what one of
        // them has learned, which the daemon adds again.
        hold_in(unsafe { &mut (*named).held }, new);
        return 0;
    }
    if !counts_one_more(&answer.found.owner) {
        count_failure(failure::NAMES_OF_ONE_FULL);
        return 0;
    }
    answer.entry.held[0] = new;
    // Another CPU that was first (EEXIST) has the same answer, or the daemon adds this one.
    if NAMED.insert(&answer.found, &answer.entry, u64::from(BPF_NOEXIST)).is_err() {
        count_failure(failure::NAMES_FULL);
    }
    0
}

/// Where the pattern is already; else where nothing is, or what ends first.
#[inline(always)]
fn hold_in(held: &mut [Held; HELD_LIMIT], new: Held) {
    let (mut place, mut earliest) = (0, u64::MAX);
    for (number, known) in held.iter().enumerate() {
        let ends = if known.pattern == new.pattern { 0 } else { known.valid_until.saturating_add(1) };
        let ends = if known.pattern == PatternId::NONE { 1 } else { ends };
        if ends < earliest {
            (place, earliest) = (number, ends);
        }
    }
    if let Some(known) = held.get_mut(place) {
        *known = new;
    }
}

/// Counts one address more of a workload, unless it has as many as it may have.
#[inline(always)]
fn counts_one_more(owner: &CgroupId) -> bool {
    if let Some(count) = NAMED_COUNTS.get_ptr_mut(owner) {
        // SAFETY: the entry stays valid until the program ends (RCU). The daemon counts again, so that what two CPUs count
        // at once need not be exact.
        let count = unsafe { &mut *count };
        if *count >= NAMED_OF_ONE_LIMIT {
            return false;
        }
        *count += 1;
        return true;
    }
    NAMED_COUNTS.insert(owner, 1, 0).is_ok()
}
