//! Names that a runtime makes up: the next container of the same kind has another.

/// Shortest text of hexadecimal digits that is an id, and no word.
const SHORTEST_ID: usize = 12;

/// First words of the names that Docker and Podman make up (moby/pkg/namesgenerator).
const ADJECTIVES: &str = "admiring adoring affectionate agitated amazing angry awesome beautiful blissful bold boring brave \
    busy charming clever compassionate competent condescending confident cool cranky crazy dazzling \
    determined distracted dreamy eager ecstatic elastic elated elegant eloquent epic exciting fervent \
    festive flamboyant focused friendly frosty funny gallant gifted goofy gracious great happy hardcore \
    heuristic hopeful hungry infallible inspiring intelligent interesting jolly jovial keen kind \
    laughing loving lucid magical modest musing mystifying naughty nervous nice nifty nostalgic \
    objective optimistic peaceful pedantic pensive practical priceless quirky quizzical recursing \
    relaxed reverent romantic sad serene sharp silly sleepy stoic strange stupefied suspicious sweet \
    tender thirsty trusting unruffled upbeat vibrant vigilant vigorous wizardly wonderful xenodochial \
    youthful zealous zen";

/// Whether a container's name is one that a runtime made up: `vigorous_mclean`, `zen_bell7`, or an id.
pub(super) fn is_made_up(name: &str) -> bool {
    is_id(name) || is_of_a_generator(name)
}

/// Whether somebody chose no name, so that an id stands for it.
fn is_id(name: &str) -> bool {
    name.len() >= SHORTEST_ID && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_of_a_generator(name: &str) -> bool {
    let Some((first, second)) = name.split_once('_') else { return false };
    let second = second.strip_suffix(|last: char| last.is_ascii_digit()).unwrap_or(second);
    let is_word = !second.is_empty() && second.bytes().all(|byte| byte.is_ascii_lowercase());
    is_word && ADJECTIVES.split_whitespace().any(|word| word == first)
}

/// The beginning of a pod's name that its controller was given, and the pattern of the names that it makes of that:
/// `web-7d9f8c6b5-x2x4z` of a Deployment, `node-x2x4z` of a DaemonSet, `db-0` of a StatefulSet, `backup-29387520-x2x4z` of a
/// CronJob. A pattern asks for as many characters as a controller appends, so that it means few others.
pub(super) fn of_controller(pod: &str) -> Option<(&str, String)> {
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

/// Whether Kubernetes made it of its alphabet, which has neither vowels nor digits that look like letters
/// (apimachinery/pkg/util/rand).
fn is_random(text: &str, lengths: std::ops::RangeInclusive<usize>) -> bool {
    lengths.contains(&text.len()) && text.bytes().all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_runtimes_make_up_are_told_from_those_that_people_choose() {
        for made_up in ["vigorous_mclean", "zen_bell7", "3f2a9c4d5e6f", &"ab".repeat(32)] {
            assert!(is_made_up(made_up), "{made_up}");
        }
        for chosen in ["web", "my_app", "zen_", "great_Wall", "shop_web_1", "decade", "happy-web", "facade1"]
        {
            assert!(!is_made_up(chosen), "{chosen}");
        }
    }

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
