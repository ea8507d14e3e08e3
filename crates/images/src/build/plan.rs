//! Which stages there are, and which of them the target needs.
use super::BuildOptions;
use super::dockerfile::SyntaxError;
use super::instruction::{Instruction, Kind};
use std::collections::BTreeSet;

/// A Dockerfile's stages.
#[derive(Debug)]
pub struct Plan {
    /// `ARG`s before the first `FROM`.
    pub globals: Vec<Instruction>,
    pub stages: Vec<Stage>,
    /// Which one becomes the image.
    pub target: usize,
}

#[derive(Debug)]
pub struct Stage {
    /// Its `FROM`.
    pub from: Instruction,
    pub name: Option<String>,
    pub instructions: Vec<Instruction>,
}

impl Plan {
    pub fn new(instructions: Vec<Instruction>, options: &BuildOptions) -> Result<Self, SyntaxError> {
        let mut globals = Vec::new();
        let mut stages: Vec<Stage> = Vec::new();
        for instruction in instructions {
            match (&instruction.kind, stages.last_mut()) {
                (Kind::From { name, .. }, _) => {
                    let name = name.clone();
                    if name.is_some() && stages.iter().any(|s| s.name == name) {
                        let message = format!("duplicate name {:?} for a build stage", name.unwrap_or_default());
                        return Err(SyntaxError::new(instruction.line, message));
                    }
                    stages.push(Stage { from: instruction, name, instructions: Vec::new() });
                }
                (_, Some(stage)) => stage.instructions.push(instruction),
                (_, None) => globals.push(instruction),
            }
        }
        let mut plan = Self { globals, stages, target: 0 };
        plan.target = match &options.target {
            None => plan.stages.len().saturating_sub(1),
            Some(target) => plan
                .find(target, plan.stages.len())
                .ok_or_else(|| SyntaxError::new(1, format!("target stage {target:?} could not be found")))?,
        };
        Ok(plan)
    }

    /// The stage of that name or number, among the first `before`.
    pub fn find(&self, name: &str, before: usize) -> Option<usize> {
        let named = self.stages.iter().take(before).position(|s| s.name.as_deref() == Some(&name.to_ascii_lowercase()));
        named.or_else(|| name.parse().ok().filter(|n: &usize| *n < before))
    }

    /// The stages that the target is made of, in order. Names with variables in them are looked up by `expand`.
    pub fn needed(&self, expand: &dyn Fn(&str) -> String) -> Vec<usize> {
        let mut needed = BTreeSet::from([self.target]);
        for n in (0..=self.target).rev() {
            let Some(stage) = self.stages.get(n).filter(|_| needed.contains(&n)) else { continue };
            let names = stage.instructions.iter().flat_map(references).chain(match &stage.from.kind {
                Kind::From { image, .. } => vec![image.clone()],
                _ => Vec::new(),
            });
            needed.extend(names.filter_map(|name| self.find(&expand(&name), n)));
        }
        needed.into_iter().collect()
    }
}

/// Stages or images that an instruction reads from.
fn references(instruction: &Instruction) -> Vec<String> {
    match &instruction.kind {
        Kind::Copy(transfer) => transfer.from.iter().cloned().collect(),
        Kind::Run(run) => {
            let options = run.mounts.iter().flat_map(|m| m.split(','));
            options.filter_map(|o| o.trim().strip_prefix("from=")).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}
