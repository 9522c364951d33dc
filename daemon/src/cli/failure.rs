//! What can go wrong for somebody at the command line, and its exit code.

use std::{io, path::PathBuf};

use crate::{config::Problem, sensor::features::Missing};

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nobody listens at the socket.
    #[error(
        "no daemon answers at {}: start it with `systemctl start cofferdam` or `cofferdam run`, \
         or see `cofferdam doctor`",
        .0.display()
    )]
    NoDaemon(PathBuf),
    /// The configuration is broken.
    #[error("the configuration is broken; nothing was started or changed")]
    Config(#[from] Problem),
    /// Policies are broken.
    #[error("the policies are broken; nothing was changed")]
    Policies(Problem),
    /// So many things cannot be told in policies, which was said on stderr.
    #[error(
        "{} cannot be told in a policy; nothing was written (--partial writes all else)",
        super::output::plural(*.0, "thing")
    )]
    Untold(u64),
    /// A file of expectations is broken.
    #[error("the expectations are broken; none was tried")]
    Expectations(Problem),
    /// Policies cannot be taken, for a reason that is no place in a file.
    #[error("the policies are not taken: {0}")]
    Refused(String),
    /// They are, and it was said on stdout.
    #[error("")]
    Broken,
    /// The daemon ended while it was being listened to.
    #[error("the daemon at {} went away", .0.display())]
    DaemonLeft(PathBuf),
    /// The socket exists, but not for this user.
    #[error("not permitted to talk to the daemon at {}: try again as root (sudo)", .0.display())]
    NotPermitted(PathBuf),
    /// The daemon does not do that for this user.
    #[error("{0}")]
    Forbidden(String),
    /// Said already, on stdout.
    #[error("")]
    Unwell,
    /// What was asked is so, as `--exit-code` wants to know. It was said on stdout.
    #[error("")]
    Answered,
    /// Whoever read our output has gone, as `head` does. Nothing went wrong.
    #[error("")]
    ReaderLeft,
    /// Anything else.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

impl Failure {
    /// The exit code: 0 fine, 1 failed, 3 the configuration or a policy is broken, 4 no daemon, 5 not permitted or the kernel lacks something,
    /// 10 something would be denied or is not covered, where `--exit-code` asks. (2 is usage; the parser sees to it.)
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::ReaderLeft => 0,
            Self::Failed(error) if is_permission(error) || error.is::<Missing>() => 5,
            Self::Failed(_) | Self::Unwell => 1,
            Self::Config(_)
            | Self::Policies(_)
            | Self::Expectations(_)
            | Self::Refused(_)
            | Self::Untold(_)
            | Self::Broken => 3,
            Self::NoDaemon(_) | Self::DaemonLeft(_) => 4,
            Self::NotPermitted(_) | Self::Forbidden(_) => 5,
            Self::Answered => 10,
        }
    }

    /// What is shown before [`Self::sentence`], over several lines. Safe to show.
    #[must_use]
    pub fn report(&self) -> Option<String> {
        match self {
            Self::Config(problem) | Self::Policies(problem) | Self::Expectations(problem) => {
                Some(problem.to_string())
            }
            _ => None,
        }
    }

    /// What to say about it on stderr, if anything: one sentence.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        let sentence = self.to_string();
        (!sentence.is_empty()).then_some(sentence)
    }
}

fn is_permission(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_missing_permission_anywhere_below_is_exit_code_5() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = Err::<(), _>(denied).context("cannot load the programs").unwrap_err();
        assert_eq!(Failure::from(error).code(), 5);
        assert_eq!(Failure::from(anyhow::Error::new(Missing::Btf)).code(), 5);
        assert_eq!(Failure::from(anyhow::anyhow!("something else")).code(), 1);
    }

    #[test]
    fn an_answer_that_was_asked_for_is_exit_code_10_and_was_said_already() {
        assert_eq!((Failure::Answered.code(), Failure::Answered.sentence()), (10, None));
    }

    #[test]
    fn a_reader_that_left_is_no_failure_and_not_worth_a_word() {
        assert_eq!((Failure::ReaderLeft.code(), Failure::ReaderLeft.sentence()), (0, None));
    }
}
