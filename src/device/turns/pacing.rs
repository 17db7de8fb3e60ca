//! How long training may work before the next serving step: a pure decision, fed with what steps and pauses took.
//!
//! While serving has nothing to do, training has everything and nobody asks here. While requests run, a slice before a
//! step makes the gap between two tokens longer, so what may be given is what a gap can bear: up to the target where one
//! is set, else up to what serving by itself makes of its slower gaps, which is measured in quiet spells without slices.
//! What streams then see is compared with the limit, and slices shrink where it is not held. Below all of this lies a
//! least share, which is owed and paid where it is noticed least.

use std::time::Duration;

use super::gaps::Gaps;

/// How serving and training share the processor while requests run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sharing {
    /// Between two tokens of an answer; `None` keeps near what serving has without training.
    pub longest_gap: Option<Duration>,
    /// Of the time, for training, under any load.
    pub min_share: f64,
    /// Of the time, for training, while requests run and the gaps would allow more.
    pub max_share: f64,
}

impl Sharing {
    /// What is owed to training is paid in pauses no longer than this, unless all gaps are longer.
    pub const LONGEST_PAUSE: Duration = Duration::from_millis(20);
}

impl Default for Sharing {
    fn default() -> Self {
        Self {
            longest_gap: None,
            min_share: 0.05,
            max_share: 0.5,
        }
    }
}

/// The next serving step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Coming {
    /// Answers under way get a token by it.
    pub generating: bool,
    /// It computes prompts, and takes longer than others.
    pub opening: bool,
    /// Requests wait for their turn: serving has more than it can do.
    pub crowded: bool,
}

/// What training does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trainer {
    /// It waits for its turn.
    pub waits: bool,
    /// It has worked since serving stopped.
    pub works: bool,
}

/// Without a target, gaps are filled up to this multiple of the slower ones that serving has by itself, where it is idle
/// for this part of the time or more and so is far from having too much to do. Where it is idle for less they are filled
/// less, and where it never is not at all: whatever a slice took there, answers would lose …
const FILL: f64 = 1.9;
const IDLE: f64 = 0.05;
/// … and slices shrink where the slowest become this much slower.
const BEARABLE: f64 = 1.25;
/// What is owed to training may make a gap so much longer than serving's slower ones.
const STEADY: f64 = 1.08;
/// Seconds of slices shorter than these are spent on waking and caches alone; some tiles must fit in, too.
const LEAST: f64 = 0.000_25;
const LEAST_TILES: f64 = 2.0;
/// What is owed is paid at once, whatever the gaps, when it is so many seconds: rarely, and shorter than a reader notices.
const LUMP: f64 = Sharing::LONGEST_PAUSE.as_millis() as f64 * 1e-3;
/// The shortest such pause, where the target leaves less.
const LEAST_LUMP: f64 = 0.005;
/// Seconds of idle time that count against what is owed later.
const CREDIT: f64 = 0.25;
/// A quiet spell: until streams have settled to it, answers that began before having ended, and how much it sees then …
const SETTLING: f64 = 0.25;
const SETTLING_GAPS: usize = 64;
const QUIET: f64 = 0.5;
const QUIET_GAPS: usize = 64;
/// … and what follows is so many times as long.
const FILLED_PER_QUIET: f64 = 8.0;
/// Gaps after which slices are judged.
const JUDGED: usize = 128;
/// By how much slices shrink, and grow again, and the least that is left of them.
const SHRINK: f64 = 0.8;
const GROW: f64 = 0.05;
const SMALLEST: f64 = 0.05;
/// How fast the newest gap replaces what was thought.
const LEARNING: f64 = 0.25;
/// Seconds over which the share is told.
const TOLD: f64 = 10.0;

/// Gaps that serving has by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Reference {
    /// 95 and 99 of 100 are not longer.
    slower: f64,
    slowest: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    /// No slices but those owed, for so many seconds so far.
    Quiet {
        passed: f64,
        gaps: usize,
    },
    Filled {
        passed: f64,
        length: f64,
    },
}

const QUIET_NOW: Phase = Phase::Quiet {
    passed: 0.0,
    gaps: 0,
};

#[derive(Debug)]
pub struct Pacing {
    sharing: Sharing,
    /// When the newest step ended, and whether another was to follow at once.
    ended: Option<(f64, bool)>,
    coming: Coming,
    trainer: Trainer,
    /// Given before the coming step.
    slice: f64,
    /// Without what was given.
    natural: Gaps,
    /// With it.
    seen: Gaps,
    /// Of a step that only generates, as seen lately; 0 while none is known.
    usual: f64,
    reference: Option<Reference>,
    phase: Phase,
    /// Of what gaps could bear, the part that is given.
    level: f64,
    /// Seconds that training should have had; below zero where it had more.
    owed: f64,
    /// Seconds that `max_share` still allows.
    allowed: f64,
    /// Of the last seconds, what training had, and what serving did not need.
    share: f64,
    idle: f64,
}

impl Pacing {
    pub fn new(sharing: Sharing) -> Self {
        Self {
            sharing,
            ended: None,
            coming: Coming::default(),
            trainer: Trainer::default(),
            slice: 0.0,
            natural: Gaps::default(),
            seen: Gaps::default(),
            usual: 0.0,
            reference: None,
            phase: QUIET_NOW,
            level: 1.0,
            owed: 0.0,
            allowed: 0.0,
            share: 0.0,
            idle: 0.0,
        }
    }

    /// Seconds for training before a step that could begin now; `tile` is how long its tiles take.
    pub fn before(&mut self, now: f64, coming: Coming, trainer: Trainer, tile: f64) -> f64 {
        if let Some((ended, false)) = self.ended {
            let idle = (now - ended).max(0.0);
            if trainer.works {
                self.owed = (self.owed - idle).max(-CREDIT);
            }
            self.tell(if trainer.works { idle } else { 0.0 }, idle, idle);
        }
        (self.coming, self.trainer, self.slice) = (coming, trainer, 0.0);
        if !trainer.waits {
            return 0.0;
        }
        let least = LEAST.max(LEAST_TILES * tile);
        let fill = self.fill().min(self.allowed);
        let slice = fill.max(self.payment(least));
        if slice < least { 0.0 } else { slice }
    }

    /// Training had so many seconds before the coming step.
    pub fn given(&mut self, seconds: f64) {
        self.slice = seconds;
    }

    /// The step has ended, and another follows at once, or not.
    pub fn after(&mut self, now: f64, more: bool) {
        let before = self.ended.replace((now, more));
        let Some((last, true)) = before else { return };
        let gap = (now - last).max(0.0);
        let natural = (gap - self.slice).max(0.0);
        self.tell(self.slice, 0.0, gap);
        let Sharing {
            min_share,
            max_share,
            ..
        } = self.sharing;
        let most_owed = (2.0 * LUMP).max(natural);
        self.owed = (self.owed + natural * odds(min_share) - self.slice).min(most_owed);
        let most_allowed = (2.0 * LUMP).max(4.0 * gap);
        self.allowed = (self.allowed + natural * odds(max_share) - self.slice)
            .clamp(-most_allowed, most_allowed);
        if !self.coming.generating {
            return;
        }
        if !self.coming.opening {
            self.usual = match self.usual {
                0.0 => natural,
                usual => usual + LEARNING * (natural - usual),
            };
        }
        self.learn(gap, natural);
    }

    /// The longest slice that may now come before a step.
    pub fn longest(&self) -> f64 {
        let filled = self.top().map_or(0.0, |top| top - self.usual);
        filled.max(self.lump())
    }

    /// What training had of the last seconds, 0 to 1.
    pub fn share(&self, now: f64, trainer: Trainer) -> f64 {
        let since = match self.ended {
            Some((ended, _)) => (now - ended).max(0.0),
            None => f64::INFINITY,
        };
        let kept = (-since / TOLD).exp();
        let had = if trainer.works { 1.0 } else { 0.0 };
        kept * self.share + (1.0 - kept) * had
    }

    fn learn(&mut self, gap: f64, natural: f64) {
        if self.sharing.longest_gap.is_some() || !self.trainer.waits {
            // A target needs no quiet spells to know what is left, and without training every gap is one of serving's own.
            self.natural.add(natural);
            if self.natural.since_cleared().is_multiple_of(QUIET_GAPS) {
                self.take_reference();
            }
        }
        if !self.trainer.waits {
            self.phase = Phase::Filled {
                passed: 0.0,
                length: FILLED_PER_QUIET * QUIET,
            };
            return;
        }
        match &mut self.phase {
            Phase::Quiet { .. } if self.sharing.longest_gap.is_some() => self.fill_for(QUIET),
            Phase::Quiet { passed, gaps } => {
                *passed += gap;
                *gaps += 1;
                let (passed, gaps) = (*passed, *gaps);
                if passed < SETTLING || gaps <= SETTLING_GAPS {
                    self.natural.clear();
                    return;
                }
                self.natural.add(natural);
                if passed >= SETTLING + QUIET && gaps >= SETTLING_GAPS + QUIET_GAPS {
                    self.take_reference();
                    self.fill_for(passed);
                }
            }
            Phase::Filled { passed, length } => {
                *passed += gap;
                let over = *passed >= *length && self.sharing.longest_gap.is_none();
                self.seen.add(gap);
                if self.seen.since_cleared() >= JUDGED {
                    self.judge();
                }
                if over {
                    self.phase = QUIET_NOW;
                }
            }
        }
    }

    fn take_reference(&mut self) {
        self.reference = Some(Reference {
            slower: self.natural.quantile(0.95),
            slowest: self.natural.quantile(0.99),
        });
    }

    fn fill_for(&mut self, quiet: f64) {
        self.seen.clear();
        self.phase = Phase::Filled {
            passed: 0.0,
            length: FILLED_PER_QUIET * quiet,
        };
    }

    /// Compares what streams saw with the limit.
    fn judge(&mut self) {
        let seen = self.seen.quantile(0.99);
        self.seen.clear();
        let limit = match (self.sharing.longest_gap, self.reference) {
            (Some(target), _) => target.as_secs_f64(),
            (None, Some(reference)) => BEARABLE * reference.slowest,
            (None, None) => return,
        };
        if seen > limit {
            self.level = (self.level * SHRINK).max(SMALLEST);
        } else if seen < 0.95 * limit {
            self.level = (self.level + GROW).min(1.0);
        }
    }

    /// How long a gap may be made.
    fn top(&self) -> Option<f64> {
        let reference = self.reference?;
        Some(match self.sharing.longest_gap {
            // A step may be one of the slower ones: the target leaves what they do not need.
            Some(target) => target.as_secs_f64() - (reference.slower - self.usual).max(0.0),
            None => FILL * reference.slower,
        })
    }

    /// Of what gaps could bear, the part that may be filled: a target says itself what it leaves.
    fn spare(&self) -> f64 {
        match self.sharing.longest_gap {
            Some(_) => 1.0,
            None => (self.idle / IDLE).min(1.0),
        }
    }

    fn fill(&self) -> f64 {
        let Coming {
            generating,
            opening,
            crowded,
        } = self.coming;
        let filled = matches!(self.phase, Phase::Filled { .. });
        match self.top() {
            Some(top) if filled && generating && !opening && !crowded => {
                // Where the slower gaps are several times the usual ones, most gaps must not become like them.
                let most = 2.0 * odds(self.sharing.max_share) * self.usual;
                self.spare() * self.level * (top - self.usual).clamp(0.0, most)
            }
            _ => 0.0,
        }
    }

    /// What is paid of what is owed.
    fn payment(&self, least: f64) -> f64 {
        if self.owed <= 0.0 {
            return 0.0;
        }
        let lump = self.lump();
        let bearable = match self.reference {
            Some(reference) if self.coming.generating && !self.coming.opening => {
                let steady = STEADY * reference.slower - self.usual;
                // What has gathered may make a gap one of the slowest.
                let gathered = reference.slowest - self.usual;
                match self.owed >= lump / 2.0 {
                    true => steady.max(gathered),
                    false => steady,
                }
            }
            _ => 0.0,
        };
        let payment = self.owed.min(bearable);
        match payment >= least {
            true => payment,
            false if self.owed >= lump => lump,
            false => 0.0,
        }
    }

    fn lump(&self) -> f64 {
        match self.sharing.longest_gap {
            Some(target) => {
                let slower = self.reference.map_or(0.0, |reference| reference.slower);
                (target.as_secs_f64() - slower.max(self.usual)).clamp(LEAST_LUMP, LUMP)
            }
            None => LUMP,
        }
    }

    /// Of so many seconds, training had so many, and serving needed all but so many.
    fn tell(&mut self, had: f64, idle: f64, of: f64) {
        if of > 0.0 {
            let kept = (-of / TOLD).exp();
            self.share = kept * self.share + (1.0 - kept) * (had / of).clamp(0.0, 1.0);
            self.idle = kept * self.idle + (1.0 - kept) * (idle / of).clamp(0.0, 1.0);
        }
    }
}

/// Seconds for a share, for each second of the rest.
fn odds(share: f64) -> f64 {
    share / (1.0 - share).max(1e-3)
}

#[cfg(test)]
mod tests;
