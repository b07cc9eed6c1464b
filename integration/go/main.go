// Checks a log directory with the Go project's own transparency-log code: the signature of the
// checkpoint, every tile and entry, proofs that entries are in the log, and that older checkpoints
// are beginnings of it and of each other.
//
//	check DIR KEYFILE [OLDER-CHECKPOINT]...
//	check notes
//
// Every tile is made again from the entries and compared. Where that leads to another root than the
// one that was signed, the tiles that do lead there tell which entry is wrong. `notes` asks Go about
// notes on standard input instead.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// height of tiles, as C2SP tlog-tiles has it.
const height = 8

// proven beside the first and the last entry and 50 others.
var proven = []int64{1, 254, 255, 256, 257, 65_534, 65_535, 65_536, 65_537}

// seed of the 50 others: the same at every run.
const seed = 0x5EED

// path of a tile where C2SP tlog-tiles puts it: as Go's, without the height.
func path(tile tlog.Tile) string {
	if tile.L == -1 {
		return strings.Replace(tile.Path(), "tile/8/data/", "tile/entries/", 1)
	}
	return strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
}

// files reads tiles for Go's reader, which checks them against the root before it uses them.
type files struct{ dir string }

func (f files) Height() int { return height }

func (f files) SaveTiles([]tlog.Tile, [][]byte) {}

func (f files) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		read, err := os.ReadFile(filepath.Join(f.dir, path(tile)))
		if err != nil {
			return nil, err
		}
		all = append(all, read)
	}
	return all, nil
}

func open(path string, verifier note.Verifier) (tlog.Tree, error) {
	var tree tlog.Tree
	read, err := os.ReadFile(path)
	if err != nil {
		return tree, err
	}
	opened, err := note.Open(read, note.VerifierList(verifier))
	if err != nil {
		return tree, fmt.Errorf("%s: %w", path, err)
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() || lines[3] != "" {
		return tree, fmt.Errorf("%s is not a checkpoint of %s", path, verifier.Name())
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return tree, err
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	copy(tree.Hash[:], root)
	return tree, err
}

// made is the tree as the entries alone have it.
type made struct{ hashes []tlog.Hash }

func (m *made) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var found []tlog.Hash
	for _, index := range indexes {
		if index >= int64(len(m.hashes)) {
			return nil, fmt.Errorf("no hash %d", index)
		}
		found = append(found, m.hashes[index])
	}
	return found, nil
}

// fromEntries makes the tree from the bundles of a log of n entries.
func fromEntries(dir string, n int64) (*made, error) {
	tree := &made{}
	for at := int64(0); at < n; {
		width := min(n-at, 256)
		name := path(tlog.Tile{H: height, L: -1, N: at / 256, W: int(width)})
		bundle, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		for end := at + width; at < end; at++ {
			if len(bundle) < 2 || len(bundle)-2 < int(binary.BigEndian.Uint16(bundle)) {
				return nil, fmt.Errorf("%s is cut in entry %d", name, at)
			}
			length := 2 + int(binary.BigEndian.Uint16(bundle))
			more, err := tlog.StoredHashes(at, bundle[2:length], tree)
			if err != nil {
				return nil, err
			}
			tree.hashes = append(tree.hashes, more...)
			bundle = bundle[length:]
		}
		if len(bundle) > 0 {
			return nil, fmt.Errorf("%s goes on after entry %d, its last", name, at-1)
		}
	}
	return tree, nil
}

// checkTiles names every tile that is not the one that the entries make.
func checkTiles(dir string, n int64, tree *made) error {
	var wrong []error
	for _, tile := range tlog.NewTiles(height, 0, n) {
		expected, err := tlog.ReadTileData(tile, tree)
		if err != nil {
			return err
		}
		found, err := os.ReadFile(filepath.Join(dir, path(tile)))
		if err != nil {
			return err
		}
		if !bytes.Equal(found, expected) {
			wrong = append(wrong, fmt.Errorf("%s is not what the entries make", path(tile)))
		}
	}
	return errors.Join(wrong...)
}

// checkEntries names every entry that is not the one in the tiles, which lead to the signed root.
func checkEntries(signed tlog.HashReader, n int64, tree *made) error {
	var wrong []error
	for at := int64(0); at < n; at += 256 {
		var indexes []int64
		for entry := at; entry < min(at+256, n); entry++ {
			indexes = append(indexes, tlog.StoredHashIndex(0, entry))
		}
		inTree, err := signed.ReadHashes(indexes)
		if err != nil {
			return err
		}
		for i, hash := range inTree {
			if tree.hashes[indexes[i]] != hash {
				name := path(tlog.Tile{H: height, L: -1, N: at / 256, W: len(indexes)})
				wrong = append(wrong, fmt.Errorf("%s: entry %d is not the one in the tree", name, at+int64(i)))
			}
		}
	}
	if len(wrong) == 0 {
		return errors.New("neither entries nor tiles lead to the signed root")
	}
	return errors.Join(wrong...)
}

// checkProofs makes and checks inclusion proofs, and says how many.
func checkProofs(tree tlog.Tree, signed tlog.HashReader, entries *made) (int, error) {
	sample := append([]int64{0, tree.N - 1}, proven...)
	random := rand.New(rand.NewSource(seed))
	for range 50 {
		sample = append(sample, random.Int63n(tree.N))
	}
	slices.Sort(sample)
	sample = slices.Compact(sample)
	sample = slices.DeleteFunc(sample, func(at int64) bool { return at >= tree.N })
	for _, at := range sample {
		proof, err := tlog.ProveRecord(tree.N, at, signed)
		if err != nil {
			return 0, fmt.Errorf("entry %d: %w", at, err)
		}
		hash := entries.hashes[tlog.StoredHashIndex(0, at)]
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, at, hash); err != nil {
			return 0, fmt.Errorf("entry %d: %w", at, err)
		}
	}
	return len(sample), nil
}

// checkOlder shows that each tree is a beginning of every later one, and says how many proofs that took.
func checkOlder(trees []tlog.Tree, names []string, signed tlog.HashReader) (int, error) {
	proofs := 0
	for _, newer := range trees {
		for i, older := range trees {
			if older.N >= newer.N {
				continue
			}
			proof, err := tlog.ProveTree(newer.N, older.N, signed)
			if err != nil {
				return 0, err
			}
			if err := tlog.CheckTree(proof, newer.N, newer.Hash, older.N, older.Hash); err != nil {
				return 0, fmt.Errorf("%s is not the beginning of the %d entries: %w", names[i], newer.N, err)
			}
			proofs++
		}
	}
	return proofs, nil
}

func run(dir, keyFile string, older []string) error {
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return err
	}
	verifier, err := note.NewVerifier(strings.TrimSpace(string(key)))
	if err != nil {
		return err
	}
	names := append(slices.Clone(older), filepath.Join(dir, "checkpoint"))
	var trees []tlog.Tree
	for _, name := range names {
		tree, err := open(name, verifier)
		if err != nil {
			return err
		}
		trees = append(trees, tree)
	}
	tree := trees[len(trees)-1]
	for i, other := range trees {
		if other.N > tree.N {
			return fmt.Errorf("%s has %d entries, and the log only %d", names[i], other.N, tree.N)
		}
	}
	entries, err := fromEntries(dir, tree.N)
	if err != nil {
		return err
	}
	root, err := tlog.TreeHash(tree.N, entries)
	if err != nil {
		return err
	}
	signed := tlog.TileHashReader(tree, files{dir})
	if root != tree.Hash {
		return checkEntries(signed, tree.N, entries)
	}
	if err := checkTiles(dir, tree.N, entries); err != nil {
		return err
	}
	included, err := checkProofs(tree, signed, entries)
	if err != nil {
		return err
	}
	continued, err := checkOlder(trees, names, signed)
	if err != nil {
		return err
	}
	fmt.Printf("%d entries, %d older checkpoints: %d inclusion and %d consistency proofs\n",
		tree.N, len(older), included, continued)
	return nil
}

func main() {
	var err error
	switch {
	case len(os.Args) == 2 && os.Args[1] == "notes":
		err = notes(os.Stdin)
	case len(os.Args) >= 3:
		err = run(os.Args[1], os.Args[2], os.Args[3:])
	default:
		fmt.Fprintln(os.Stderr, "usage: check DIR KEYFILE [OLDER-CHECKPOINT]... | check notes")
		os.Exit(64)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
