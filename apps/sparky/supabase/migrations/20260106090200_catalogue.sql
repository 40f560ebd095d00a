-- What the app can do to a picture, and what there is to choose from. The first rows are part of the product.

create table public.tools (
    id text primary key check (id ~ '^[a-z][a-z0-9_]{0,49}$'),
    name text not null check (char_length(name) between 1 and 100),
    description text not null default '' check (char_length(description) <= 2000),
    kind text not null check (kind in ('image', 'analysis')),
    credit_cost int not null default 1 check (credit_cost between 0 and 1000),
    parameter_schema jsonb not null default '{"type": "object", "additionalProperties": false}'
        check (jsonb_typeof(parameter_schema) = 'object'),
    prompt text not null default '' check (char_length(prompt) <= 10000),
    icon text check (char_length(icon) <= 20),
    is_enabled boolean not null default true,
    sort_order int not null default 0,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on table public.tools is
    'What can be done with a picture: kind image by process-image, kind analysis by analyze-face.';
comment on column public.tools.id is 'A lower-case word; toolId of the functions.';
comment on column public.tools.name is 'Its name for people.';
comment on column public.tools.description is 'A sentence for people.';
comment on column public.tools.kind is 'image: a picture comes out. analysis: figures come out.';
comment on column public.tools.credit_cost is
    'Credits of one run; what was already under way costs what it said when it began.';
comment on column public.tools.parameter_schema is 'JSON Schema of toolParameters.';
comment on column public.tools.prompt is 'What an image model is told, before the parameters. Anyone can read it.';
comment on column public.tools.icon is 'An emoji.';
comment on column public.tools.is_enabled is
    'The switch: a disabled tool is listed, and refuses to run (TOOL_DISABLED).';
comment on column public.tools.sort_order is 'Place in the list.';

create table public.hairstyles (
    id text primary key check (id ~ '^[a-z][a-z0-9_]{0,49}$'),
    name text not null check (char_length(name) between 1 and 100),
    description text not null default '' check (char_length(description) <= 2000),
    category text not null check (category in ('short', 'medium', 'long')),
    image_url text check (char_length(image_url) <= 2000),
    is_enabled boolean not null default true,
    sort_order int not null default 0,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on table public.hairstyles is 'What the tool hairstyle offers.';
comment on column public.hairstyles.id is 'A lower-case word; hairstyle_id of the tool.';
comment on column public.hairstyles.name is 'Its name for people.';
comment on column public.hairstyles.description is 'What an image model is told to make.';
comment on column public.hairstyles.category is 'short, medium or long.';
comment on column public.hairstyles.image_url is 'An example.';
comment on column public.hairstyles.is_enabled is 'Whether it is offered.';
comment on column public.hairstyles.sort_order is 'Place in the list.';

create table public.colors (
    id text primary key check (id ~ '^[a-z][a-z0-9_]{0,49}$'),
    name text not null check (char_length(name) between 1 and 100),
    hex text not null check (hex ~ '^#[0-9a-f]{6}$'),
    category text not null check (category in ('natural', 'vivid')),
    is_enabled boolean not null default true,
    sort_order int not null default 0,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on table public.colors is 'What the tool hair_color offers.';
comment on column public.colors.id is 'A lower-case word; color_id of the tool.';
comment on column public.colors.name is 'Its name for people.';
comment on column public.colors.hex is 'sRGB, #rrggbb.';
comment on column public.colors.category is 'natural or vivid.';
comment on column public.colors.is_enabled is 'Whether it is offered.';
comment on column public.colors.sort_order is 'Place in the list.';

create trigger tools_touch_updated_at
before update on public.tools
for each row execute function private.touch_updated_at();

create trigger hairstyles_touch_updated_at
before update on public.hairstyles
for each row execute function private.touch_updated_at();

create trigger colors_touch_updated_at
before update on public.colors
for each row execute function private.touch_updated_at();

-- Also what is switched off is seen: Realtime tells nobody of a row that they may not see, and clients shall hear of the
-- switch.
alter table public.tools enable row level security;
alter table public.hairstyles enable row level security;
alter table public.colors enable row level security;

create policy "anyone views tools"
on public.tools for select to anon, authenticated
using (true);

create policy "anyone views hairstyles"
on public.hairstyles for select to anon, authenticated
using (true);

create policy "anyone views colours"
on public.colors for select to anon, authenticated
using (true);

revoke all on public.tools, public.hairstyles, public.colors from anon, authenticated, service_role;
grant select on public.tools, public.hairstyles, public.colors to anon, authenticated;
grant select, insert, update, delete on public.tools, public.hairstyles, public.colors to service_role;

insert into public.tools (id, name, description, kind, credit_cost, icon, sort_order, prompt, parameter_schema)
values
    ('enhance', 'Enhance', 'Light, contrast and sharpness put right', 'image', 1, '✨', 0,
        'Improve light, contrast and sharpness of this photograph. Keep the person and the scene as they are.',
        '{"type": "object", "additionalProperties": false, "properties": {
            "strength": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.5}}}'),
    ('color', 'Colour', 'Warmth, saturation and brightness', 'image', 1, '🎨', 1,
        'Adjust the colours of this photograph as the parameters say. Change nothing else.',
        '{"type": "object", "additionalProperties": false, "properties": {
            "brightness": {"type": "number", "minimum": -1, "maximum": 1, "default": 0},
            "contrast": {"type": "number", "minimum": -1, "maximum": 1, "default": 0},
            "preset": {"type": "string", "enum": ["none", "warm", "cool", "vivid", "soft", "mono"], "default": "none"},
            "saturation": {"type": "number", "minimum": -1, "maximum": 1, "default": 0},
            "warmth": {"type": "number", "minimum": -1, "maximum": 1, "default": 0}}}'),
    ('background_blur', 'Background blur', 'The person sharp, the rest soft', 'image', 1, '🌫️', 2,
        'Blur the background of this portrait. Keep the person sharp and unchanged.',
        '{"type": "object", "additionalProperties": false, "properties": {
            "radius": {"type": "number", "minimum": 1, "maximum": 40, "default": 12}}}'),
    ('hair_color', 'Hair colour', 'A new colour for the hair', 'image', 2, '💇', 3,
        'Dye the hair of the person in this photograph in the given colour. Keep face, skin, clothes and background.',
        '{"type": "object", "additionalProperties": false, "required": ["color_id"], "properties": {
            "color_id": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,49}$"},
            "strength": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.7},
            "region": {"type": "object", "additionalProperties": false, "required": ["x", "y", "width", "height"],
                "description": "where to look for hair, as parts of the width and height", "properties": {
                "x": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
                "y": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
                "width": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                "height": {"type": "number", "exclusiveMinimum": 0, "maximum": 1}}}}}'),
    ('hairstyle', 'Hairstyle', 'Another cut, seen before it is cut', 'image', 3, '💈', 4,
        'Give the person in this photograph the described hairstyle. Keep face, skin, clothes and background.',
        '{"type": "object", "additionalProperties": false, "required": ["hairstyle_id"], "properties": {
            "hairstyle_id": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,49}$"},
            "color_id": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,49}$"}}}'),
    ('upscale', 'Upscale', 'Twice or four times as large', 'image', 2, '🔍', 5,
        'Enlarge this photograph and keep every detail.',
        '{"type": "object", "additionalProperties": false, "properties": {
            "factor": {"type": "integer", "enum": [2, 4], "default": 2}}}'),
    ('face_analysis', 'Face analysis', 'Shape of the face, and what suits it', 'analysis', 1, '🙂', 6,
        'Analyse the face in this photograph: its shape, its proportions, and which hairstyles suit it.',
        '{"type": "object", "additionalProperties": false, "properties": {}}'),
    ('skin_tone', 'Skin tone', 'A palette of the skin''s tones, and colours that suit them', 'analysis', 1, '🖌️', 7,
        'Describe the skin tones in this photograph as a palette, and colours of hair that suit them.',
        '{"type": "object", "additionalProperties": false, "properties": {
            "palette_size": {"type": "integer", "minimum": 1, "maximum": 8, "default": 5}}}'),
    ('photo_quality', 'Photo quality', 'Dimensions, brightness and sharpness', 'analysis', 1, '📷', 8,
        'Judge the technical quality of this photograph: light, sharpness, noise, framing.',
        '{"type": "object", "additionalProperties": false, "properties": {}}');

insert into public.hairstyles (id, name, category, description, sort_order)
values
    ('pixie', 'Pixie', 'short', 'a short pixie cut with a soft fringe', 0),
    ('buzz', 'Buzz cut', 'short', 'a buzz cut of even length', 1),
    ('crop', 'Textured crop', 'short', 'a textured crop with faded sides', 2),
    ('quiff', 'Quiff', 'short', 'a quiff swept up from the forehead', 3),
    ('bob', 'Bob', 'medium', 'a chin-length bob with a clean line', 4),
    ('lob', 'Long bob', 'medium', 'a shoulder-length bob with loose waves', 5),
    ('shag', 'Shag', 'medium', 'a layered shag with a curtain fringe', 6),
    ('curls', 'Natural curls', 'medium', 'full natural curls to the shoulders', 7),
    ('layers', 'Long layers', 'long', 'long hair in soft layers', 8),
    ('waves', 'Beach waves', 'long', 'long loose beach waves', 9),
    ('braids', 'Box braids', 'long', 'long box braids', 10),
    ('sleek', 'Sleek and straight', 'long', 'long sleek straight hair with a middle parting', 11);

insert into public.colors (id, name, hex, category, sort_order)
values
    ('black', 'Black', '#1c1a19', 'natural', 0),
    ('dark_brown', 'Dark brown', '#3b2820', 'natural', 1),
    ('chestnut', 'Chestnut', '#6b3a26', 'natural', 2),
    ('auburn', 'Auburn', '#7c2f1f', 'natural', 3),
    ('copper', 'Copper', '#b3592b', 'natural', 4),
    ('honey', 'Honey blonde', '#c69455', 'natural', 5),
    ('platinum', 'Platinum blonde', '#e6d8b8', 'natural', 6),
    ('silver', 'Silver', '#b8b9bd', 'natural', 7),
    ('burgundy', 'Burgundy', '#6a1530', 'vivid', 8),
    ('rose', 'Rose', '#d98a9b', 'vivid', 9),
    ('violet', 'Violet', '#6b3fa0', 'vivid', 10),
    ('teal', 'Teal', '#1f8a8c', 'vivid', 11);
