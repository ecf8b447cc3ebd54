//! `longshore explain`.

use super::args::ExplainArgs;

pub(super) fn run(_: &ExplainArgs) -> u8 {
    super::exit::NO_INPUT
}
