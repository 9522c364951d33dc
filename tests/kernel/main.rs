//! The hooks against a real kernel: this one, and as the payload of virtual machines other ones.
//!
//! No daemon and no containers: a test moves itself between cgroups of its own, opens sockets there, and looks at
//! what the kernel's ledger and rings say.
#![expect(clippy::tests_outside_test_module, reason = "this binary is tests only")]
#![expect(clippy::expect_used, reason = "a test that cannot go on says where and why")]

mod attempts;

mod container;

mod dns;

mod network;

mod node;

mod policy;

mod process;

mod protocols;

mod recording;

mod robustness;

mod shedding;

mod syscall;

mod namespace;
