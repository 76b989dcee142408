-- links.lua: turns the links between the project's files into links between the pages of the HTML book.
-- What a page links to is resolved from its own folder; pages, pictures and programs that the book has are
-- linked there, anything else keeps its text and loses the link.
local folder = ""

local function resolve(target)
    local parts = {}
    for part in (folder .. "/" .. target):gmatch("[^/]+") do
        if part == ".." then
            table.remove(parts)
        elseif part ~= "." then
            table.insert(parts, part)
        end
    end
    return table.concat(parts, "/")
end

local function page(path)
    if path == "README.md" then return "index.html" end
    if path == "data/README.md" then return "data.html" end
    if path == "LICENSE" then return path end
    local chapter = path:match("^chapters/([^/]+)$") or path:match("^chapters/([^/]+)/README%.md$")
    if chapter then return chapter .. ".html" end
    local dir, file = path:match("^chapters/([^/]+)/([^/]+%.c)$")
    if dir then return dir .. "/" .. file end
    return nil
end

function Meta(meta)
    folder = pandoc.utils.stringify(meta.folder or "")
end

function Link(link)
    local target, anchor = link.target:match("^([^#]*)(#?.*)$")
    if target == "" or target:match("^%a+:") then return link end
    local to = page((resolve(target):gsub("/$", "")))
    if not to then return link.content end
    link.target = to .. anchor
    return link
end

function Image(image)
    if not image.src:match("^%a+:") then image.src = resolve(image.src) end
    return image
end

-- "console run.txt 2%" and "c dense layer" are for the tool that holds the text to the runs; a reader needs
-- the language, and above a listing its name.
function CodeBlock(block)
    local info = block.classes[1] or ""
    block.classes = { info:match("^%S+") }
    return block
end

return { { Meta = Meta }, { Link = Link, Image = Image, CodeBlock = CodeBlock } }
