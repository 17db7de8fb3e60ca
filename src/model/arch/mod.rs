//! arch: the architectures, each a wiring of shared layers. A new one is a file here and a row below.

mod llama;
mod qwen2;
mod qwen3;

use super::layers::Block;
use super::spec::Arch;
use super::supply::At;
use super::weights::WeightError;

/// Builds one block of a decoder.
pub(super) type BuildBlock = fn(&mut At<'_>) -> Result<Block, WeightError>;

const CATALOGUE: [(Arch, BuildBlock); 4] = [
    (Arch::Llama, llama::block),
    // A Llama whose spec has a sliding window.
    (Arch::Mistral, llama::block),
    (Arch::Qwen2, qwen2::block),
    (Arch::Qwen3, qwen3::block),
];

pub(super) fn block_of(arch: Arch) -> Option<BuildBlock> {
    CATALOGUE
        .iter()
        .find(|(of, _)| *of == arch)
        .map(|(_, build)| *build)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_a_wiring() {
        assert!(Arch::ALL.into_iter().all(|arch| block_of(arch).is_some()));
    }
}
