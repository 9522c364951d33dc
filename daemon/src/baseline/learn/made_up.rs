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
}
