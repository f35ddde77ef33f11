"""The record in the formats of other programs: one small module each, a pure ``render(run)``.

Every text that came from outside is made visible first (``probes.text.visible``) and then
escaped as the format asks for. Nothing depends on the moment, the place or chance: identifiers
derive from the record's digest, times are those of the run.
"""
