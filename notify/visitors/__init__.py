"""The page that asks for a name, an app that other projects leave out. Start with `forms`, `views`, then `signals`.

It may import `mail` (its signal notifies administrators) and, for its pages, `admin`; nothing imports it.
"""
