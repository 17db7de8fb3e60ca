//! Which linear layers a PEFT configuration means, and which rank and alpha a pattern gives them.
//! The rules are those of PEFT's `check_target_module_exists`, `_maybe_include_all_linear_layers` and `get_pattern_key`.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use fancy_regex::{Regex, RegexBuilder};

use crate::adapter::{AdapterFault, Module, Outer, Site, SiteShape};
use crate::domain::Targets;

const ALL_LINEAR: &str = "all-linear";
const TARGETS: &str = "target_modules";
const EXCLUDED: &str = "exclude_modules";
/// Longer patterns, and lists of more entries, have no use.
const MAX_PATTERN: usize = 4096;
const MAX_ENTRIES: usize = 16_384;

/// The keys of a configuration that choose layers.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    pub targets: Targets,
    /// A pattern here has no `all-linear`.
    pub exclude: Option<Targets>,
    /// `layers_to_transform`; empty means every layer.
    pub layers: Vec<usize>,
    /// `layers_pattern`: names of the list the layer number belongs to; empty means any.
    pub layers_pattern: Vec<String>,
}

impl Selection {
    pub fn of(targets: Targets) -> Self {
        Self {
            targets,
            exclude: None,
            layers: Vec::new(),
            layers_pattern: Vec::new(),
        }
    }

    /// The sites these keys choose, in the order of `sites`; never empty. Refuses what PEFT would adapt but is no
    /// linear layer of a block (embeddings, the head). As in PEFT, a name that no layer has chooses nothing, as long
    /// as another name chooses something: one list may serve many bases.
    pub fn sites(&self, sites: &[SiteShape]) -> Result<Vec<SiteShape>, AdapterFault> {
        self.linears(sites, None)
    }

    /// As [`sites`](Self::sites), for what adapts the embedding and the head as well: those of them that these keys choose.
    pub fn sites_and_outer(
        &self,
        sites: &[SiteShape],
    ) -> Result<(Vec<SiteShape>, Vec<Outer>), AdapterFault> {
        let outer = self.outer()?;
        Ok((self.linears(sites, Some(&outer))?, outer))
    }

    /// Which of the embedding and the head these keys choose; `all-linear` neither.
    pub fn outer(&self) -> Result<Vec<Outer>, AdapterFault> {
        let rules = Rules::new(self)?;
        let mut chosen = Vec::new();
        for outer in Outer::ALL {
            if rules.targets.names(outer.path())? && rules.left_out_by(outer.path())?.is_none() {
                chosen.push(outer);
            }
        }
        Ok(chosen)
    }

    /// Whether PEFT takes it that an embedding is a target, where those of a tied base stay tied: by the last parts of
    /// names, or by a pattern that is good for one of them alone.
    pub fn means_tied(&self) -> Result<bool, AdapterFault> {
        const NAMES: [&str; 2] = ["embed_tokens", "lm_head"];
        match (&self.targets, Rules::new(self)?.targets) {
            (Targets::List(list), _) => Ok(list.iter().any(|name| {
                let last = name.rsplit('.').next().unwrap_or(name);
                NAMES.contains(&last)
            })),
            (Targets::Pattern(_), targets) => {
                Ok(targets.names(NAMES[0])? || targets.names(NAMES[1])?)
            }
        }
    }

    /// `outer`: those that are chosen, where they may be.
    fn linears(
        &self,
        sites: &[SiteShape],
        outer: Option<&[Outer]>,
    ) -> Result<Vec<SiteShape>, AdapterFault> {
        let rules = Rules::new(self)?;
        for path in other_modules(sites) {
            if outer.is_some() && Outer::ALL.iter().any(|outer| outer.path() == path) {
                continue;
            }
            if rules.targets.names(&path)? && !rules.excludes(&path)? {
                let why = format!("`{path}` is not a linear layer that can be adapted here");
                return Err(AdapterFault::new(TARGETS, why));
            }
        }
        let paths: Vec<(String, &SiteShape)> = sites
            .iter()
            .map(|shape| (shape.site.path(), shape))
            .collect();
        let (mut chosen, mut key) = (Vec::new(), TARGETS);
        for (path, shape) in &paths {
            match rules.left_out_by(path)? {
                None => chosen.push(**shape),
                Some(TARGETS) => {}
                Some(filter) => key = filter,
            }
        }
        if chosen.is_empty() && outer.is_none_or(<[Outer]>::is_empty) {
            self.check_names(sites, &[])?;
            return Err(AdapterFault::new(
                key,
                "leaves no linear layer of this base to adapt",
            ));
        }
        Ok(chosen)
    }

    /// Refuses a list with a name that no layer of this base has, nor any of `outer`: in what a user asks for, that is a
    /// mistake.
    pub fn check_names(&self, sites: &[SiteShape], outer: &[Outer]) -> Result<(), AdapterFault> {
        let Targets::List(names) = &self.targets else {
            return Ok(());
        };
        let mut paths: Vec<String> = sites.iter().map(|shape| shape.site.path()).collect();
        paths.extend(outer.iter().map(|outer| outer.path().to_owned()));
        let known = |name: &&String| paths.iter().any(|path| ends_with(path, name));
        match names.iter().find(|name| !known(name)) {
            Some(unknown) => {
                let mut names: Vec<&str> = { sites.iter() }
                    .map(|shape| shape.site.module.name())
                    .collect();
                names.extend(outer.iter().map(|outer| outer.path()));
                let mut told = BTreeSet::new();
                names.retain(|name| told.insert(*name));
                let has = names.join(", ");
                let why = format!("`{unknown}` is no linear layer of this base, which has {has}");
                Err(AdapterFault::new(TARGETS, why))
            }
            None => Ok(()),
        }
    }

    /// The key that leaves a site out, where one does.
    pub fn left_out_by(&self, site: Site) -> Result<Option<&'static str>, AdapterFault> {
        Rules::new(self)?.left_out_by(&site.path())
    }
}

/// A selection, compiled.
struct Rules<'a> {
    targets: Matcher<'a>,
    excluded: Option<Matcher<'a>>,
    layers: LayerFilter<'a>,
}

impl<'a> Rules<'a> {
    fn new(selection: &'a Selection) -> Result<Self, AdapterFault> {
        let excluded = selection
            .exclude
            .as_ref()
            .map(|exclude| Matcher::new(EXCLUDED, exclude))
            .transpose()?;
        Ok(Self {
            targets: Matcher::new(TARGETS, &selection.targets)?,
            excluded,
            layers: LayerFilter::new(selection)?,
        })
    }

    fn excludes(&self, path: &str) -> Result<bool, AdapterFault> {
        self.excluded
            .as_ref()
            .map_or(Ok(false), |matcher| matcher.matches(path))
    }

    fn left_out_by(&self, path: &str) -> Result<Option<&'static str>, AdapterFault> {
        Ok(if self.excludes(path)? {
            Some(EXCLUDED)
        } else if !self.targets.matches(path)? {
            Some(TARGETS)
        } else if !self.targets.is_exact(path) && !self.layers.allows(path)? {
            Some("layers_to_transform")
        } else {
            None
        })
    }
}

/// `rank_pattern` or `alpha_pattern`: the first pattern that matches `^(.*\.)?(PATTERN)$` wins.
pub struct Patterns<'a, T> {
    field: &'a str,
    rules: Vec<(Regex, T)>,
}

impl<'a, T: Copy> Patterns<'a, T> {
    pub fn new(field: &'a str, rules: &[(String, T)]) -> Result<Self, AdapterFault> {
        if rules.len() > MAX_ENTRIES {
            return Err(AdapterFault::new(
                field,
                format!("has more than {MAX_ENTRIES} entries"),
            ));
        }
        let rules = rules
            .iter()
            .map(|(pattern, value)| {
                Ok((
                    compile(
                        &format!("{field}.{pattern}"),
                        pattern,
                        r"\A(?:.*\.)?(?:",
                        r")$",
                    )?,
                    *value,
                ))
            })
            .collect::<Result<_, AdapterFault>>()?;
        Ok(Self { field, rules })
    }

    pub fn get(&self, path: &str) -> Result<Option<T>, AdapterFault> {
        for (regex, value) in &self.rules {
            if is_match(self.field, regex, path)? {
                return Ok(Some(*value));
            }
        }
        Ok(None)
    }
}

/// One list or pattern, compiled.
enum Matcher<'a> {
    Names(&'a [String]),
    AllLinear,
    Pattern { field: &'static str, whole: Regex },
}

impl<'a> Matcher<'a> {
    fn new(field: &'static str, targets: &'a Targets) -> Result<Self, AdapterFault> {
        match targets {
            Targets::List(names) if names.len() > MAX_ENTRIES => Err(AdapterFault::new(
                field,
                format!("has more than {MAX_ENTRIES} entries"),
            )),
            Targets::List(names) => Ok(Self::Names(names)),
            Targets::Pattern(text) if field == TARGETS && text.eq_ignore_ascii_case(ALL_LINEAR) => {
                Ok(Self::AllLinear)
            }
            Targets::Pattern(text) => Ok(Self::Pattern {
                field,
                whole: compile(field, text, r"\A(?:", r")\z")?,
            }),
        }
    }

    /// Whether the path of a linear layer is meant.
    fn matches(&self, path: &str) -> Result<bool, AdapterFault> {
        match self {
            Self::Names(names) => Ok(names.iter().any(|name| ends_with(path, name))),
            Self::AllLinear => Ok(true),
            Self::Pattern { field, whole } => is_match(field, whole, path),
        }
    }

    /// Whether the path of something else is meant, which `all-linear` never does.
    fn names(&self, path: &str) -> Result<bool, AdapterFault> {
        if matches!(self, Self::AllLinear) {
            Ok(false)
        } else {
            self.matches(path)
        }
    }

    /// Whether the list holds the whole path, which `layers_to_transform` then does not filter.
    fn is_exact(&self, path: &str) -> bool {
        matches!(self, Self::Names(names) if names.iter().any(|name| name == path))
    }
}

/// `layers_to_transform` with `layers_pattern`.
struct LayerFilter<'a> {
    layers: &'a [usize],
    numbers: Vec<Regex>,
}

impl<'a> LayerFilter<'a> {
    fn new(selection: &'a Selection) -> Result<Self, AdapterFault> {
        const FIELD: &str = "layers_pattern";
        let any = [r"[^.]*".to_owned()];
        let patterns = if selection.layers_pattern.is_empty() {
            &any[..]
        } else {
            &selection.layers_pattern
        };
        let numbers = patterns
            .iter()
            .map(|pattern| compile(FIELD, pattern, r"\A(?:|.*?\.)(?:", r")\.(?P<layer>\d+)\."))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            layers: &selection.layers,
            numbers,
        })
    }

    fn allows(&self, path: &str) -> Result<bool, AdapterFault> {
        if self.layers.is_empty() {
            return Ok(true);
        }
        for regex in &self.numbers {
            let found = regex
                .captures(path)
                .map_err(|error| too_costly("layers_pattern", &error))?;
            if let Some(number) =
                found.and_then(|groups| groups.name("layer").map(|group| group.as_str().parse()))
            {
                return Ok(number.is_ok_and(|layer: usize| self.layers.contains(&layer)));
            }
        }
        Ok(false)
    }
}

/// A regular expression that matches whole paths, as PEFT's do.
pub struct WholePath {
    field: &'static str,
    regex: Regex,
}

impl WholePath {
    pub fn new(field: &'static str, pattern: &str) -> Result<Self, AdapterFault> {
        let regex = compile(field, pattern, r"\A(?:", r")\z")?;
        Ok(Self { field, regex })
    }

    pub fn matches(&self, path: &str) -> Result<bool, AdapterFault> {
        is_match(self.field, &self.regex, path)
    }
}

/// PEFT's rule for feed-forward modules: the path ends with one of a list, dot or not, or is all of a pattern.
pub(super) fn suffix_or_pattern(
    field: &'static str,
    said: &Targets,
    path: &str,
) -> Result<bool, AdapterFault> {
    match (said, Matcher::new(field, said)?) {
        (Targets::List(names), _) => Ok(names.iter().any(|name| path.ends_with(name.as_str()))),
        (Targets::Pattern(_), matcher) => matcher.matches(path),
    }
}

/// PEFT's list rule: the whole path, or its end after a dot.
fn ends_with(path: &str, name: &str) -> bool {
    path.strip_suffix(name)
        .is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// The paths of a decoder that are not adaptable sites, as `named_modules` lists them.
fn other_modules(sites: &[SiteShape]) -> Vec<String> {
    let layers = sites
        .iter()
        .map(|shape| shape.site.layer + 1)
        .max()
        .unwrap_or(0);
    let mut paths: Vec<String> = [
        "model",
        "model.embed_tokens",
        "model.layers",
        "model.norm",
        "model.rotary_emb",
        "lm_head",
    ]
    .map(str::to_owned)
    .to_vec();
    for layer in 0..layers {
        paths.push(format!("model.layers.{layer}"));
        for part in [
            "self_attn",
            "self_attn.q_norm",
            "self_attn.k_norm",
            "mlp",
            "mlp.act_fn",
            "input_layernorm",
            "post_attention_layernorm",
        ] {
            paths.push(format!("model.layers.{layer}.{part}"));
        }
        // A linear layer this base does not let adapters change is as foreign as a norm.
        let missing = Module::ALL.map(|module| Site { layer, module }).into_iter();
        paths.extend(
            missing
                .filter(|site| sites.iter().all(|shape| shape.site != *site))
                .map(|site| site.path()),
        );
    }
    paths
}

fn compile(field: &str, pattern: &str, before: &str, after: &str) -> Result<Regex, AdapterFault> {
    if pattern.len() > MAX_PATTERN {
        return Err(AdapterFault::new(
            field,
            format!("the pattern is longer than {MAX_PATTERN} bytes"),
        ));
    }
    // The pattern alone first: one that closes our group early must not pass.
    Regex::new(pattern)
        .and_then(|_| {
            RegexBuilder::new(&format!("{before}{pattern}{after}"))
                .backtrack_limit(100_000)
                .delegate_size_limit(1 << 20)
                .build()
        })
        .map_err(|error| {
            AdapterFault::new(
                field,
                format!("`{pattern}` is not a usable regular expression: {error}"),
            )
        })
}

fn is_match(field: &str, regex: &Regex, path: &str) -> Result<bool, AdapterFault> {
    regex
        .is_match(path)
        .map_err(|error| too_costly(field, &error))
}

fn too_costly(field: &str, error: &fancy_regex::Error) -> AdapterFault {
    AdapterFault::new(field, format!("the pattern cannot be evaluated: {error}"))
}
