//! The finished base as one GGUF file: weights, tokenizer and chat template.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::run::Failure;
use super::state;
use super::tokenizer::{BEGIN, CHAT_TEMPLATE, END, SPECIAL, VOCABULARY};
use crate::device::Array;
use crate::kernels::quant::Format;
use crate::model::arch::LLAMA;
use crate::model::spec::{Biases, Rope, Scaling, Spec};
use crate::model::weights::gguf::{Contents, write};
use crate::text::{ChatTemplate, Specials, Tokenizer};

const NAME: &str = "adapterd-base";
/// Longer than any record of the corpus; rotary positions beyond those seen are only as good as they happen to be.
const CONTEXT: usize = 1024;

/// Writes `model.gguf` beside the `model.safetensors` and `tokenizer.json` of `folder`.
pub fn export_folder(folder: &Path) -> Result<(), Failure> {
    let model = state::load_weights(&folder.join("model.safetensors"), &spec())?;
    let tokenizer = fs::read_to_string(folder.join("tokenizer.json"))?;
    let weights = state::weights(&model);
    export(&folder.join("model.gguf"), &spec(), &weights, &tokenizer)
}

/// Writes `path`, matrices as Q8_0.
pub fn export(
    path: &Path,
    spec: &Spec,
    weights: &BTreeMap<String, Array>,
    tokenizer: &str,
) -> Result<(), Failure> {
    let specials = Specials {
        named: BTreeMap::from([
            ("bos_token".to_owned(), BEGIN.to_owned()),
            ("eos_token".to_owned(), END.to_owned()),
            ("pad_token".to_owned(), SPECIAL[0].to_owned()),
        ]),
        ..Specials::default()
    };
    let template = ChatTemplate::of(CHAT_TEMPLATE, &specials).map_err(misfit)?;
    let tokenizer = Tokenizer::from_json(tokenizer.as_bytes(), specials).map_err(misfit)?;
    let contents = Contents {
        name: NAME,
        spec,
        tensors: weights,
        tokenizer: &tokenizer,
        template: &template,
        format: Format::Q8_0,
    };
    Ok(write(path, &contents)?)
}

fn misfit(why: impl std::fmt::Display) -> Failure {
    Failure::Misfit(why.to_string())
}

/// The sizes of the embedded base.
pub fn spec() -> Spec {
    Spec {
        arch: &LLAMA,
        hidden: 256,
        layers: 4,
        heads: 8,
        kv_heads: 4,
        head_dim: 32,
        intermediate: 768,
        vocab: VOCABULARY,
        norm_eps: 1e-5,
        rope: Rope {
            theta: 100_000.0,
            scaling: Scaling::None,
        },
        windows: vec![None; 4],
        bias: Biases::default(),
        head_norm: false,
        tied: false,
        context: CONTEXT,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tokenizer;
    use super::*;
    use crate::model::{Base, KvKind, Origin};

    #[test]
    fn a_base_written_out_opens_as_what_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        let weights = state::weights(&state::fresh(&spec(), 1).unwrap());
        let learned = tokenizer::learn(1, 100).unwrap().to_string(false).unwrap();
        export(&path, &spec(), &weights, &learned).unwrap();
        let base = Base::open(&Origin::Gguf(path), None, KvKind::Auto).unwrap();
        assert_eq!(
            (base.model.vocab(), base.model.layers()),
            (spec().vocab, spec().layers)
        );
        assert_eq!(
            base.tokenizer.token_bytes(base.tokenizer.eos()[0]),
            END.as_bytes()
        );
    }
}
