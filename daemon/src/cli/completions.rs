//! `cofferdam completions`: scripts with which shells complete our command line.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Failure, output::print};

/// What can be asked.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The shell. Try it with `source <(cofferdam completions bash)`.
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    print(&script(arguments.shell))
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "cofferdam", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn each_shell_gets_a_script_that_knows_commands_and_options() {
        for shell in Shell::value_variants() {
            let script = script(*shell);
            for word in ["doctor", "follow", "run-dir"] {
                assert!(script.contains(word), "{shell}: {word} is missing");
            }
        }
    }
}
