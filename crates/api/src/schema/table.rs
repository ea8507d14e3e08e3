//! Reads the table (its form: [`super`]).
use super::{Field, ListKind, PatchStrategy, Scalar, Schema, Shape, Struct, Type, TypeId, kind_key};
use std::collections::HashMap;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TableError {
    #[error("line {0}: {1}")]
    Line(usize, &'static str),
    #[error("line {line}: no type {name}")]
    NoType { line: usize, name: String },
}

struct Reader<'a> {
    schema: Schema,
    /// Types without a name, by their text: there is one of each.
    anonymous: HashMap<&'a str, TypeId>,
    line: usize,
}

pub(super) fn parse(text: &str) -> Result<Schema, TableError> {
    let mut reader = Reader { schema: Schema::default(), anonymous: HashMap::new(), line: 0 };
    // Names first: fields refer forward.
    for line in text.lines() {
        if let Some(header) = line.strip_prefix("# ").or_else(|| line.strip_prefix("= ")) {
            let (name, atomic) = header.strip_suffix(" atomic").map_or((header, false), |name| (name, true));
            let shape = Shape::Struct(Struct { atomic, ..Struct::default() });
            let id = reader.schema.push(Type { name: name.into(), ..Type::anonymous(shape) });
            reader.schema.names.insert(name.into(), id);
        }
    }
    let mut current: Option<TypeId> = None;
    let mut fields = Vec::new();
    let mut next = 0;
    for (number, line) in text.lines().enumerate() {
        reader.line = number + 1;
        match line.split_at_checked(2) {
            Some(("# " | "= ", _)) => {
                reader.finish(current, &mut fields);
                current = Some(TypeId(next));
                next += 1;
            }
            Some(("@ ", kind)) => {
                let mut parts = kind.split('/');
                let mut part = || parts.next().unwrap_or_default();
                let key = kind_key(part(), part(), part());
                reader.schema.kinds.insert(key.into(), current.ok_or(TableError::Line(reader.line, "no type"))?);
            }
            _ if line.contains(' ') => fields.push(reader.field(line)?),
            _ => {
                let shape = reader.scalar(line)?;
                if let Some(ty) = current.and_then(|id| reader.schema.types.get_mut(id.0 as usize)) {
                    ty.shape = shape;
                }
            }
        }
    }
    reader.finish(current, &mut fields);
    Ok(reader.schema)
}

impl<'a> Reader<'a> {
    fn finish(&mut self, current: Option<TypeId>, fields: &mut Vec<Field>) {
        let ty = current.and_then(|id| self.schema.types.get_mut(id.0 as usize));
        if let Some(Type { shape: Shape::Struct(s), .. }) = ty {
            fields.sort_by(|a, b| a.name.cmp(&b.name));
            s.fields = std::mem::take(fields).into();
        }
    }

    fn scalar(&self, letter: &str) -> Result<Shape, TableError> {
        Ok(Shape::Scalar(match letter {
            "s" => Scalar::String,
            "b" => Scalar::Bool,
            "i" => Scalar::Int32,
            "l" => Scalar::Int64,
            "f" => Scalar::Float,
            "y" => Scalar::Bytes,
            "q" => Scalar::Quantity,
            "x" => Scalar::IntOrString,
            "t" => Scalar::Time,
            "u" => Scalar::MicroTime,
            "*" => return Ok(Shape::Any),
            _ => return Err(TableError::Line(self.line, "unknown scalar")),
        }))
    }

    fn field(&mut self, line: &'a str) -> Result<Field, TableError> {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        let text = words.next().unwrap_or_default();
        let (mut strategy, mut merge_key, mut default) = (PatchStrategy::default(), None, None);
        let mut omit_zero = false;
        let (mut go, mut item_go) = (None, None);
        for word in words {
            match word.split_once(':') {
                Some(("p", list)) => {
                    strategy.merge = list.split(',').any(|s| s == "merge");
                    strategy.replace = list.split(',').any(|s| s == "replace");
                    strategy.retain_keys = list.split(',').any(|s| s == "retainKeys");
                }
                Some(("k", key)) => merge_key = Some(key.into()),
                Some(("o", _)) => omit_zero = true,
                Some(("g", name)) => go = Some(name),
                Some(("i", name)) => item_go = Some(name),
                Some(("d", json)) => {
                    let bad = |_| TableError::Line(self.line, "default is not JSON");
                    default = Some(serde_json::from_str(json).map_err(bad)?);
                }
                _ => return Err(TableError::Line(self.line, "unknown word")),
            }
        }
        let mut ty = self.type_of(text)?;
        if go.is_some() || item_go.is_some() {
            ty = self.renamed(ty, go, item_go);
        }
        let (name, required) = name.strip_suffix('!').map_or((name, false), |name| (name, true));
        Ok(Field { name: name.into(), ty, required, strategy, merge_key, default, omit_zero })
    }

    /// The same type under another name of Go's, or with items of another name.
    fn renamed(&mut self, id: TypeId, go: Option<&str>, item_go: Option<&str>) -> TypeId {
        let mut ty = self.schema.at(id).get().clone();
        if let (Shape::List { item, .. }, Some(name)) = (&mut ty.shape, item_go) {
            *item = self.renamed(*item, Some(name), None);
        }
        if let Some(name) = go {
            ty.go = Some(name.into());
        }
        self.schema.push(ty)
    }

    fn type_of(&mut self, text: &'a str) -> Result<TypeId, TableError> {
        if let Some(id) = self.schema.names.get(text) {
            return Ok(*id);
        }
        if let Some(id) = self.anonymous.get(text) {
            return Ok(*id);
        }
        let ty = if let Some(name) = text.strip_prefix('~') {
            return self.granular(name);
        } else if let Some((kind, item)) = text.strip_prefix('[').and_then(|t| t.split_once(']')) {
            let item = self.type_of(item)?;
            let kind = match kind.strip_prefix("M:") {
                Some(keys) => ListKind::Map(keys.split(',').map(Box::from).collect()),
                None if kind == "S" => ListKind::Set,
                None => ListKind::Atomic,
            };
            Type::anonymous(Shape::List { item, kind })
        } else if let Some((atomic, value)) = text.strip_prefix('{').and_then(|t| t.split_once('}')) {
            let value = self.type_of(value)?;
            Type::anonymous(Shape::Map { value, atomic: atomic == "A" })
        } else if text.contains('.') {
            return Err(TableError::NoType { line: self.line, name: text.to_owned() });
        } else {
            Type::anonymous(self.scalar(text)?)
        };
        let id = self.schema.push(ty);
        self.anonymous.insert(text, id);
        Ok(id)
    }

    /// A copy of a struct that is merged field by field; it must stand before its use in the table.
    fn granular(&mut self, name: &str) -> Result<TypeId, TableError> {
        let no_type = || TableError::NoType { line: self.line, name: name.to_owned() };
        let id = *self.schema.names.get(name).ok_or_else(no_type)?;
        let mut ty = self.schema.at(id).get().clone();
        if let Shape::Struct(s) = &mut ty.shape {
            s.atomic = false;
        }
        Ok(self.schema.push(ty))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_table_is_safe(s in "([#=@] [a-z./]{0,5}( atomic)?|[a-z!]{1,3} [\\[\\]{}AMS:a-z~*]{0,8}( [pkgid]:[a-z\"]{0,4})?|[a-z]\n){0,8}") {
            let _ = parse(&s);
        }
    }
}
