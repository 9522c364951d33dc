//! Why something cannot be loaded or attached, in one line.

/// How lines of the verifier's log begin that say what it cost, and not why it refuses.
const NO_REASON: [&str; 4] = ["processed ", "verification time ", "stack depth ", ": "];

/// An error in one line: the verifier's log has thousands.
pub(super) fn reason(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or_default();
    match lines.rfind(|line| !NO_REASON.iter().any(|begin| line.starts_with(begin))) {
        Some(last) => format!("{first} ... {last}"),
        None => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn what_the_verifier_says_last_is_told_and_not_what_it_cost() {
        let log = "the BPF_PROG_LOAD syscall failed. Verifier output: 0: R1=ctx() R10=fp0
; let packet = Packet::read(context)
combined stack size of 4 calls is 528. Too large
verification time 130277 usec
stack depth 176+32+240+80
processed 4180 insns (limit 1000000) max_states_per_insn 4 total_states 262 peak_states 262 mark_read 31
: Permission denied (os error 13)\n";
        assert_eq!(
            reason(&anyhow!(log).context("program `ingress`")),
            "program `ingress`: the BPF_PROG_LOAD syscall failed. Verifier output: 0: R1=ctx() R10=fp0 ... \
             combined stack size of 4 calls is 528. Too large"
        );
    }

    #[test]
    fn a_line_is_told_as_it_is() {
        let refused = anyhow!("Operation not permitted (os error 1)").context("`bpf_link_create` failed");
        assert_eq!(reason(&refused), "`bpf_link_create` failed: Operation not permitted (os error 1)");
        assert_eq!(reason(&anyhow!("no such program\n\nprocessed 0 insns\n")), "no such program");
    }
}
