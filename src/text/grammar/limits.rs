//! How large a constraint may be, and how long it may take. All of it is here, so that it can be read at once.

use llguidance::api::ParserLimits;

/// Bytes of a schema, a grammar, or all choices together.
pub const SOURCE_BYTES: usize = 256 << 10;
/// Bytes of one regular expression.
pub const REGEX_BYTES: usize = 16 << 10;
/// Texts to choose from, and values of all `enum`s of a schema together.
pub const CHOICES: usize = 2_000;
/// Schemas within a schema, and how deep they may lie in one another.
pub const SCHEMAS: usize = 1_500;
pub const DEPTH: usize = 64;
/// Names of all `properties` and `patternProperties` of a schema together.
pub const PROPERTIES: usize = 1_000;
/// What a schema may count: characters, items, properties.
pub const COUNT: u64 = 10_000;
/// Brackets of a grammar or an expression within one another: they are read by functions that call themselves.
pub const BRACKETS: usize = 200;
/// Stack of the thread that compiles: enough for a chain of as many references as a schema may hold.
pub const STACK: usize = 128 << 20;
/// Compilations that look for the part of a schema at fault.
pub const TRIALS: usize = 48;

/// What the library may spend. A mask costs at most about 15 ms of it on one core.
pub fn of_library() -> ParserLimits {
    ParserLimits {
        // Ambiguity: rules that may be meant at one place.
        max_items_in_row: 1_000,
        // About 20 ms.
        initial_lexer_fuel: 1_000_000,
        // About 14 ms for one mask.
        step_lexer_fuel: 200_000,
        // About 2.5 ms for one mask.
        step_max_items: 50_000,
        // 1 to 2 KiB each, of one answer.
        max_lexer_states: 50_000,
        max_grammar_size: 200_000,
        precompute_large_lexemes: true,
        verbose_errors: false,
    }
}
