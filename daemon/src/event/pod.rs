//! Names of pods, and what of them Kubernetes makes up anew for each.

use std::ops::RangeInclusive;

/// The beginning of a pod's name that its controller was given, and the pattern of the names that it makes of that:
/// `web-7d9f8c6b5-x2x4z` of a Deployment, `node-x2x4z` of a DaemonSet, `db-0` of a StatefulSet, `backup-29387520-x2x4z` of a
/// CronJob. A pattern asks for as many characters as a controller appends, so that it means few others.
pub(crate) fn of_controller(pod: &str) -> Option<(&str, String)> {
    let (before, last) = pod.rsplit_once('-')?;
    if !last.is_empty() && last.len() < 5 && last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some((before, "-*".to_owned()));
    }
    if !is_random(last, 5..=5) {
        return None;
    }
    match before.rsplit_once('-') {
        Some((base, hash)) if is_random(hash, 8..=10) => {
            Some((base, "-{????????,?????????,??????????}-?????".to_owned()))
        }
        Some((base, minutes)) if minutes.len() == 8 && minutes.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some((base, "-????????-?????".to_owned()))
        }
        _ => Some((before, "-?????".to_owned())),
    }
}

/// Whether Kubernetes made a word of so many letters of its alphabet, which has neither vowels nor digits that look like letters
/// (apimachinery/pkg/util/rand).
pub(crate) fn is_random(text: &str, lengths: RangeInclusive<usize>) -> bool {
    lengths.contains(&text.len()) && text.bytes().all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_go_by_what_their_controller_is_called() {
        let base = |pod| of_controller(pod).map(|(base, pattern)| format!("{base} {pattern}"));
        let of = |text: &str| Some(text.to_owned());
        assert_eq!(base("web-7d9f8c6b5-x2x4z"), of("web -{????????,?????????,??????????}-?????"));
        assert_eq!(base("node-agent-x2x4z"), of("node-agent -?????"));
        assert_eq!(base("db-0"), of("db -*"));
        assert_eq!(base("backup-29387520-x2x4z"), of("backup -????????-?????"));
        assert_eq!(base("web"), None);
        assert_eq!(base("web-admin"), None);
    }
}
